"""How every process of the daemon logs: structlog, with the standard library's loggers in the same.

One line per event, on standard error: readable with colours on a terminal, JSON elsewhere. Events
have stable names (``job.failed``, ``worker.started``), and what happened stands in fields beside
them. A line written within a job carries the job's id, class, queue and attempt, whoever wrote it,
and in a worker that traces the ids of the current span.

Nothing that a job logs can forge a line or drive a terminal (control characters are escaped), and
what looks like a secret is not written: values of fields so named, passwords in URLs, and
``password=...`` within texts. That is a net below the user's own care, not a replacement for it.
The events are listed in docs/logs.md; those that repeat are held back by ``repeats``.

Read ``setup`` (the chain, link by link), then ``values`` (what of a value is written), ``console``
(for people), ``lines`` (the last link), ``repeats``, ``veils`` (what an encrypted job holds).
"""

from queued.daemon.logs.setup import ATTEMPT, JOB, JOB_ID, Forward, configure, sum_up
from queued.daemon.logs.values import LONGEST_TEXT, redact

__all__ = [
    "ATTEMPT",
    "JOB",
    "JOB_ID",
    "LONGEST_TEXT",
    "Forward",
    "configure",
    "redact",
    "sum_up",
]
