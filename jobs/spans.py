"""Spans as OpenTelemetry's conventions for messaging want them, and those of the producer.

Imported only by a program that traces. What a sampler or a processor of the user's raises stays in
here: a job is sent and run, with a span or without.

    send emails    PRODUCER   a dispatch: its context goes with the job, whose runs are its children
    send emails    PRODUCER   a bulk, whole: each of its jobs has a trace of its own and links here
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, StatusCode, Tracer, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from queued.drivers.base import NewJob
from queued.jobs.redaction import redact_text
from queued.jobs.text import error_text
from queued.jobs.trace_context import TraceContext
from queued.version import __version__

log = logging.getLogger(__name__)

SYSTEM = "messaging.system"
OPERATION = "messaging.operation.name"
OPERATION_TYPE = "messaging.operation.type"
DESTINATION = "messaging.destination.name"
MESSAGE_ID = "messaging.message.id"
MESSAGE_COUNT = "messaging.batch.message_count"
CLIENT_ID = "messaging.client.id"
ERROR_TYPE = "error.type"
JOB = "messaging.queued.job"
ATTEMPT = "messaging.queued.attempt"
OUTCOME = "messaging.queued.outcome"

Attributes = Mapping[str, str | int]

_W3C = TraceContextTextMapPropagator()


@contextmanager
def sending(url: str, queue: str, job: NewJob) -> Iterator[NewJob]:
    """Have a span around a job's way to the back-end; yield the job, with the span's context."""
    with _sending(url, queue, {MESSAGE_ID: job.id}) as span:
        context = _context_of(span)
        yield job if context is None else context.in_job(job)


@contextmanager
def sending_many(url: str, queues: Sequence[str]) -> Iterator[TraceContext | None]:
    """Have one span around many jobs' way to the back-end; yield the context that goes with each.

    :param queues: one for each job.
    """
    queue = queues[0] if len(set(queues)) == 1 else ""
    with _sending(url, queue, {MESSAGE_COUNT: len(queues)}) as span:
        context = _context_of(span)
        yield None if context is None else context._replace(link=True)


@contextmanager
def _sending(url: str, queue: str, attributes: Attributes) -> Iterator[Span]:
    span = start(
        f"send {queue}" if queue else "send",
        SpanKind.PRODUCER,
        {
            SYSTEM: "queued",
            OPERATION: "send",
            OPERATION_TYPE: "send",
            **({DESTINATION: queue} if queue else {}),
            **server(url),
            **attributes,
        },
    )
    try:
        yield span
    except BaseException as error:
        fail(span, error, error_text(error))
        raise
    finally:
        end(span)


def start(
    name: str,
    kind: SpanKind,
    attributes: Attributes,
    context: Context | None = None,
    links: Sequence[Link] = (),
) -> Span:
    """Start a span; one that is none, if it cannot be made.

    :param context: has its parent; None: the current span is.
    """
    with _in_peace():
        tracer = _tracer(trace.get_tracer_provider())
        return tracer.start_span(name, context, kind, attributes, links)
    return trace.INVALID_SPAN


def fail(span: Span, error: BaseException, said: str, stack: str = "") -> None:
    """Say in a span what its operation failed of; what looks like a secret is hidden.

    :param said: ``ValueError: boom``; ``stack``: the traceback as text, if it is of interest.
    """
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ != "builtins":
        name = f"{kind.__module__}.{name}"
    message = redact_text(said.removeprefix(f"{kind.__name__}: "))
    event = {"exception.type": name, "exception.message": message}
    if stack:
        event["exception.stacktrace"] = redact_text(stack)
    with _in_peace():
        span.set_attribute(ERROR_TYPE, name)
        span.set_status(StatusCode.ERROR, message)
        span.add_event("exception", event)


def end(span: Span, attributes: Attributes | None = None) -> None:
    """End a span, which hands it to the exporter; what is known by now is added to it."""
    with _in_peace():
        span.set_attributes(attributes or {})
        span.end()


def sender_of(payload: bytes) -> tuple[Context, list[Link]]:
    """Return the context in which a job runs, and links to what has sent it."""
    sent = TraceContext.of(payload)
    if sent is None:
        return Context(), []
    with _in_peace():
        carrier = {"traceparent": sent.traceparent, "tracestate": sent.tracestate}
        context = _W3C.extract(carrier, Context())
        sender = trace.get_current_span(context).get_span_context()
        return (Context() if sent.link else context), [Link(sender)] if sender.is_valid else []
    return Context(), []


@lru_cache(maxsize=8)
def server(url: str) -> Attributes:
    """Return where a back-end is, if that is one address."""
    try:
        parts = urlsplit(url)
        found = {"server.address": parts.hostname, "server.port": parts.port}
    except ValueError:
        return {}
    several = "," in parts.netloc or "+" in parts.scheme  # as of Sentinel or a cluster
    return {} if several else {name: value for name, value in found.items() if value is not None}


def _context_of(span: Span) -> TraceContext | None:
    carrier: dict[str, str] = {}
    with _in_peace():
        _W3C.inject(carrier, trace.set_span_in_context(span, Context()))
    parent = carrier.get("traceparent")
    return TraceContext(parent, carrier.get("tracestate", "")) if parent is not None else None


@lru_cache(maxsize=1)
def _tracer(provider: TracerProvider) -> Tracer:
    return provider.get_tracer("queued", __version__)


_complained = False


@contextmanager
def _in_peace() -> Iterator[None]:
    """Let nothing that OpenTelemetry raises get out; say so once, as it would be with each job."""
    global _complained  # noqa: PLW0603 - a process says it once
    try:
        yield
    except Exception as error:  # code of the user's
        if not _complained:
            _complained = True
            log.warning("tracing.broken", exc_info=error)
