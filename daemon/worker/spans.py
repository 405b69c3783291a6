"""The spans of a worker: one around each run of a job, one around each ``failed()``.

    process emails   CONSUMER   child of the dispatch and linked to it; of a bulk, linked only
    failed emails    INTERNAL   child of the run that failed; in another worker, as a run would be

Imported only by a worker that traces.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.context import Context, attach
from opentelemetry.trace import Link, Span, SpanKind

from queued.daemon.spec import WorkerSpec
from queued.drivers.base import Reservation
from queued.jobs import spans
from queued.jobs.job import Job
from queued.jobs.outcome import Outcome
from queued.jobs.payload import job_name
from queued.jobs.tracing import ids_of


class RunSpan:
    """The span of one run or hook."""

    __slots__ = ("_span",)

    def __init__(self, span: Span) -> None:
        self._span = span

    @property
    def ids(self) -> dict[str, str]:
        """``trace_id`` and ``span_id``, as log lines have them."""
        return ids_of(self._span)

    @property
    def context(self) -> Context:
        """What its children are started in."""
        return trace.set_span_in_context(self._span, Context())

    def fail(self, error: BaseException, said: str, stack: str = "") -> None:
        """Say what it failed of: see ``jobs.spans.fail``."""
        spans.fail(self._span, error, said, stack)

    def end(self, outcome: Outcome | None = None) -> None:
        """End it. What the job's code still does, if it was given up on, comes after."""
        spans.end(self._span, None if outcome is None else {spans.OUTCOME: outcome.value})


class Spans:
    """Begins the spans of one worker: each is the current one of its task from then on."""

    def __init__(self, spec: WorkerSpec) -> None:
        self._queue = spec.pool
        self._common: dict[str, str | int] = {
            spans.SYSTEM: "queued",
            spans.DESTINATION: spec.pool,
            spans.CLIENT_ID: f"{spec.worker}@{socket.gethostname()}",
            **spans.server(spec.url),
        }
        self._process = {spans.OPERATION: "process", spans.OPERATION_TYPE: "process"}

    def run(self, reservation: Reservation, attempt: int) -> RunSpan:
        """Begin the span of a run."""
        name = job_name(reservation.payload) or "?"
        what = self._process | _job(reservation.id, name, attempt)
        sender = spans.sender_of(reservation.payload)
        return self._begin("process", SpanKind.CONSUMER, what, *sender)

    def hook(self, job: Job, cause: RunSpan | bytes) -> RunSpan:
        """Begin the span of a ``failed()``.

        :param cause: the run that failed, or the payload of a job that failed elsewhere.
        """
        assert job.job_id is not None
        name = type(job).__queued__.name
        what = {spans.OPERATION: "failed"} | _job(job.job_id, name, job.attempts)
        sender = spans.sender_of(cause) if isinstance(cause, bytes) else (cause.context, [])
        return self._begin("failed", SpanKind.INTERNAL, what, *sender)

    def _begin(
        self,
        operation: str,
        kind: SpanKind,
        what: spans.Attributes,
        context: Context,
        links: Sequence[Link],
    ) -> RunSpan:
        name = f"{operation} {self._queue}"
        span = RunSpan(spans.start(name, kind, {**self._common, **what}, context, links))
        attach(span.context)
        return span


def _job(job_id: str, name: str, attempt: int) -> dict[str, str | int]:
    return {spans.MESSAGE_ID: job_id, spans.JOB: name, spans.ATTEMPT: attempt}
