"""Utilisation, saturation and memory of each pool."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Panel

from tools.dashboard.panels import graph, timeline
from tools.dashboard.spec import Spec, above, quantile, to_panel, to_queue


def panels() -> list[Panel]:
    """Return the panels of the row."""
    return [
        graph(
            Spec(
                id=301,
                title="Utilisation",
                about="The share of slots that are busy. Near 100 % with a backlog: more "
                "processes for work of the processor, more concurrency for work that waits. Low "
                "with a backlog: look at the loop's lag and the back-end.",
                queries={
                    "{{pool}}": "sum by (pool) "
                    "(rate(queued_worker_busy_seconds_total{P}[$__rate_interval])) "
                    "/ (sum by (pool) (queued_worker_slots{P}) > 0)"
                },
                unit="percentunit",
                steps=above(0.8, 0.95),
                links=to_queue("pool", panel=204),
            )
        ),
        graph(
            Spec(
                id=302,
                title="Jobs that run, and slots",
                about="How many jobs run now, beside the dashed line of all that could.",
                queries={
                    "{{queue}}": "sum by (queue) (queued_jobs_in_flight{Q})",
                    "all slots": "sum(queued_worker_slots{P})",
                },
                links=to_panel(301),
            ),
            stacked=True,
            objective="^all slots$",
        ),
        graph(
            Spec(
                id=303,
                title="Workers",
                about="What the workers do, beside the dashed line of how many there should be. "
                "Many that start: a crash loop or slow imports. `queued status --workers` "
                "lists each.",
                queries={
                    "{{state}}": "sum by (state) (queued_workers{P})",
                    "desired": "sum(queued_workers_desired{P})",
                },
                links=to_panel(501),
            ),
            objective="^desired$",
            colors={"busy": "green", "idle": "blue", "starting": "yellow", "stopping": "text"},
        ),
        graph(
            Spec(
                id=304,
                title="Memory",
                about="Resident memory of each pool. A saw-tooth is workers replaced at "
                "max_memory or max_jobs; a line that only climbs is a leak: set max_memory.",
                queries={"{{pool}}": "sum by (pool) (queued_pool_memory_bytes{P})"},
                unit="bytes",
                links=to_queue("pool"),
            ),
        ),
        graph(
            Spec(
                id=305,
                title="Largest worker",
                about="Resident memory of the largest worker of each pool: compare with "
                "max_memory, and with what the host gives a process.",
                queries={"{{pool}}": "max by (pool) (queued_pool_worker_memory_max_bytes{P})"},
                unit="bytes",
                links=to_queue("pool", panel=501),
            )
        ),
        graph(
            Spec(
                id=306,
                title="Lag of the event loop, 99th percentile",
                about="How late the loop is: something blocks it, such as time.sleep, requests or "
                "heavy computing in an async handle. Make it a plain `def handle`, which gets a "
                "thread of its own.",
                queries={"{{pool}}": quantile(0.99, "queued_event_loop_lag_seconds{P}", "pool")},
                unit="s",
                steps=above(0.25, 1),
                links=to_queue("pool", panel=405),
            )
        ),
        graph(
            Spec(
                id=307,
                title="Stalest heartbeat",
                about="Time since the stalest worker of each pool last gave a sign. It grows "
                "while code holds the interpreter; past its job's deadline the worker is killed.",
                queries={"{{pool}}": "max by (pool) (queued_pool_heartbeat_age_max_seconds{P})"},
                unit="s",
                steps=above(5, 30),
                links=to_queue("pool", panel=306),
            )
        ),
        graph(
            Spec(
                id=308,
                title="Oldest reservation",
                about="How long the longest running job of each queue runs already. Beyond its "
                "timeout: `queued why ID` tells what becomes of it.",
                queries={
                    "{{queue}}": "max by (queue) (queued_queue_oldest_reserved_age_seconds{Q})"
                },
                unit="s",
                links=to_queue(panel=205),
            )
        ),
        timeline(
            Spec(
                id=309,
                title="Paused queues",
                about="A paused queue takes jobs and runs none, until somebody resumes it.",
                queries={"{{queue}}": "max by (queue) (queued_queue_paused{Q})"},
                links=to_queue(),
            ),
            {"0": ("open", "green"), "1": ("paused", "yellow")},
        ),
    ]
