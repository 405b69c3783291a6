"""Workers that end, and what becomes of the jobs that they held."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Panel

from tools.dashboard.panels import graph, timeline
from tools.dashboard.rows.terms import UNPLANNED
from tools.dashboard.spec import Spec, to_panel, to_queue


def panels() -> list[Panel]:
    """Return the panels of the row."""
    return [
        graph(
            Spec(
                id=501,
                title="Ends of workers, by reason",
                about="Planned: max_jobs, max_time, max_memory, drained, empty. Not planned: "
                "crash, signal, oom, hung, boot_error. `queued status` shows the last crash of "
                "each pool, `queued failed show ID` the stack and last log lines of the job's "
                "worker.",
                queries={
                    "{{reason}}": "sum by (reason) "
                    "(increase(queued_worker_exits_total{P}[$__rate_interval])) > 0"
                },
                nothing="none ended",
                links=to_panel(502),
            ),
            stacked=True,
            bars=True,
        ),
        graph(
            Spec(
                id=502,
                title="Crashes, by pool",
                about="Ends that nobody planned. One job that kills its process is isolated after "
                "a few; more than five in ten minutes sets an alert off.",
                queries={
                    "{{pool}}": "sum by (pool) (increase("
                    f"queued_worker_exits_total{{P,{UNPLANNED}}}[$__rate_interval])) > 0"
                },
                nothing="no crash",
                links=to_queue("pool", panel=401),
            ),
            stacked=True,
            bars=True,
        ),
        timeline(
            Spec(
                id=503,
                title="State of the pools",
                about="Backoff: its workers die without having done anything, and wait longer "
                "each time. Fatal: given up; the others go on. Mend it, then `queued restart`.",
                queries={
                    "{{pool}}": 'max by (pool) (queued_pool_state{P,state="running"} '
                    'or 2 * queued_pool_state{P,state="starting"} '
                    'or 3 * queued_pool_state{P,state="backoff"} '
                    'or 4 * queued_pool_state{P,state="fatal"})'
                },
                links=to_queue("pool", panel=501),
            ),
            {
                "0": ("stopped", "text"),
                "1": ("running", "green"),
                "2": ("starting", "blue"),
                "3": ("backoff", "orange"),
                "4": ("fatal", "red"),
            },
        ),
        graph(
            Spec(
                id=504,
                title="Jobs taken back from dead workers",
                about="By what became of their worker. lease_expired: a whole host went silent; "
                "see that it is gone, or that its clock and network are well.",
                queries={
                    "{{reason}}": "sum by (reason) "
                    "(increase(queued_jobs_reclaimed_total{Q}[$__rate_interval])) > 0"
                },
                nothing="none was",
                links=to_panel(502),
            ),
            stacked=True,
            bars=True,
        ),
        graph(
            Spec(
                id=505,
                title="Stale settlements",
                about="Results that came after their reservation had been given to another "
                "worker: those jobs ran twice. Look for hosts that stall or lose the back-end.",
                queries={
                    "{{queue}}": "sum by (queue) "
                    "(increase(queued_stale_acks_total{Q}[$__rate_interval]))"
                },
                links=to_panel(504),
            )
        ),
    ]
