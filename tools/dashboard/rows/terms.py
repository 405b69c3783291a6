"""Expressions that several panels share."""

from __future__ import annotations

READY = 'max by (queue) (queued_queue_jobs{Q,state="ready"})'
AGE = "max by (queue) (queued_queue_oldest_ready_age_seconds{Q})"
OBJECTIVE = "max by (queue) (queued_queue_max_wait_seconds{Q})"
FAILURE_OBJECTIVE = "max by (queue) (queued_queue_max_failure_ratio{Q})"
ENQUEUED = "max by (queue) (rate(queued_jobs_enqueued_total{Q}[$__rate_interval]))"
CHARGED = 'outcome!="released"'
"""Attempts that counted."""
BAD = 'outcome!~"succeeded|released"'
"""Attempts that counted and went wrong."""


def failing(by: str, window: str = "$__rate_interval") -> str:
    """Return the expression of the share of attempts that went wrong.

    :param by: such as ``by (queue) ``; empty: one series.
    """
    total = f"sum {by}(rate(queued_attempts_total{{Q}}[{window}]))"
    return f"sum {by}(rate(queued_attempts_total{{Q,{BAD}}}[{window}])) / ({total} > 0)"


OUTCOMES = {
    "succeeded": "green",
    "retried": "yellow",
    "failed": "red",
    "timed_out": "orange",
    "lost": "purple",
    "released": "text",
}
"""The colour of each."""
UNPLANNED = 'reason=~"crash|signal|oom|boot_error|hung"'
"""Ends of workers that nobody wanted."""
