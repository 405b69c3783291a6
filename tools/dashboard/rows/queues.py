"""Rate, errors and duration of each queue, and what waits in it."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Panel

from tools.dashboard.panels import graph
from tools.dashboard.rows.terms import AGE, FAILURE_OBJECTIVE, OBJECTIVE, OUTCOMES, READY, failing
from tools.dashboard.spec import Spec, above, quantile, to_panel, to_queue


def panels() -> list[Panel]:
    """Return the panels of the row."""
    return [
        graph(
            Spec(
                id=201,
                title="Runs",
                about="Attempts that ended, a second. Zero with a backlog means that the queue "
                "stands still: `queued why QUEUE` says for what.",
                queries={
                    "{{queue}}": "sum by (queue) (rate(queued_attempts_total{Q}[$__rate_interval]))"
                },
                unit="suffix: /s",
                links=to_queue(),
            )
        ),
        graph(
            Spec(
                id=202,
                title="Share of runs that fail",
                about="Runs that raised, timed out or lost their worker. Above the "
                "max_failure_rate of queue.yaml (dashed; 5 % where there is none) an alert goes "
                "off for the class; the row of failures tells which.",
                queries={
                    "{{queue}}": failing("by (queue) "),
                    "max_failure_rate {{queue}}": FAILURE_OBJECTIVE,
                },
                unit="percentunit",
                steps=above(0.05),
                links=to_queue(panel=401),
            ),
            objective="^max_failure_rate ",
        ),
        graph(
            Spec(
                id=203,
                title="How runs end",
                about="Retried runs come back; failed ones were the last. Timed out: a deadline "
                "that is too short, or a job that hangs. Lost: its worker died. Released: handed "
                "back uncharged, at a stop or a neighbour's crash.",
                queries={
                    "{{outcome}}": "sum by (outcome) "
                    "(rate(queued_attempts_total{Q}[$__rate_interval]))"
                },
                unit="suffix: /s",
                links=to_panel(401),
            ),
            stacked=True,
            colors=OUTCOMES,
        ),
        graph(
            Spec(
                id=204,
                title="Wait, 95th percentile",
                about="From ready to running: what the queue adds. High with free slots: look at "
                "the back-end; high with full slots: more processes or concurrency.",
                queries={"{{queue}}": quantile(0.95, "queued_job_wait_seconds{Q}", "queue")},
                unit="s",
                links=to_queue(panel=301),
            )
        ),
        graph(
            Spec(
                id=205,
                title="Run, 95th percentile",
                about="What the jobs themselves take. A step up is a slower dependency or a "
                "release; the slowest classes are in the row of failures.",
                queries={"{{queue}}": quantile(0.95, "queued_job_run_seconds{Q}", "queue")},
                unit="s",
                links=to_queue(panel=405),
            )
        ),
        graph(
            Spec(
                id=206,
                title="End to end, 95th percentile",
                about="From dispatch to success, retries and their waits included: what a user "
                "notices.",
                queries={"{{queue}}": quantile(0.95, "queued_job_end_to_end_seconds{Q}", "queue")},
                unit="s",
                links=to_queue(),
            )
        ),
        graph(
            Spec(
                id=207,
                title="Wait of all chosen queues",
                about="When the median rises with the rest, everything waits; when only the 99th "
                "percentile does, a burst or a single queue.",
                queries={
                    f"p{q * 100:.0f}": quantile(q, "queued_job_wait_seconds{Q}")
                    for q in (0.5, 0.95, 0.99)
                },
                unit="s",
                links=to_panel(204),
            )
        ),
        graph(
            Spec(
                id=208,
                title="Run of all chosen queues",
                about="A 99th percentile that sticks to the timeout is jobs that hang.",
                queries={
                    f"p{q * 100:.0f}": quantile(q, "queued_job_run_seconds{Q}")
                    for q in (0.5, 0.95, 0.99)
                },
                unit="s",
                links=to_panel(205),
            )
        ),
        graph(
            Spec(
                id=209,
                title="Oldest ready job and max_wait",
                about="A line above the dashed one of its queue misses its objective; `queued why "
                "QUEUE` says what it waits for. Full slots: "
                "more workers. Free slots: the queue is paused, parked (processes: 0), or its "
                "workers do not start.",
                queries={"{{queue}}": AGE, "max_wait {{queue}}": OBJECTIVE},
                unit="s",
                links=to_queue(panel=301),
            ),
            objective="^max_wait ",
        ),
        graph(
            Spec(
                id=210,
                title="Scheduled and running",
                about="Scheduled jobs are not due yet, retries included; a hill of them is work "
                "that comes back. Reserved ones are in a worker's hands.",
                queries={
                    "{{state}}": "sum by (state) (max by (queue, state) "
                    '(queued_queue_jobs{Q,state=~"scheduled|reserved"}))'
                },
                links=to_panel(302),
            )
        ),
        graph(
            Spec(
                id=211,
                title="Growth of the backlog",
                about="How fast what waits, due or not, grows or shrinks, in jobs a second. Above "
                "zero for long: the pool is too small for its load.",
                queries={
                    "{{queue}}": "sum by (queue) (max by (queue, state) "
                    '(deriv(queued_queue_jobs{Q,state=~"ready|scheduled"}[5m])))'
                },
                unit="suffix: /s",
                links=to_queue(panel=301),
            )
        ),
        graph(
            Spec(
                id=212,
                title="Time to drain",
                about="How long the backlog would take at the present rate, if nothing came. "
                "Above half an hour and growing an alert goes off.",
                queries={
                    "{{queue}}": f"{READY} / on (queue) (sum by (queue) "
                    '(rate(queued_attempts_total{Q,outcome="succeeded"}[5m])) > 0)'
                },
                unit="s",
                steps=above(1800),
                links=to_queue(panel=301),
            )
        ),
        graph(
            Spec(
                id=213,
                title="Size of jobs, 95th percentile",
                about="As they are stored. Every byte is written, read and kept by the back-end: "
                "put what is large into a store, and its key into the job.",
                queries={"{{queue}}": quantile(0.95, "queued_job_payload_bytes{Q}", "queue")},
                unit="bytes",
                steps=above(262_144),
                links=to_queue(panel=205),
            )
        ),
    ]
