"""A program that traces: OpenTelemetry's SDK with its exporter in memory, for one test."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.util._once import Once


class Traces:
    """What has been exported."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def all(self, name: str = "") -> list[ReadableSpan]:
        """Return the spans of a name, in the order in which they ended."""
        return [span for span in self.exporter.get_finished_spans() if name in {"", span.name}]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.all(name)
        return span


@contextlib.contextmanager
def tracing(provider: Any = None) -> Iterator[Traces]:
    """Have the process trace meanwhile, as one that has set its provider does for ever."""
    traces = Traces()
    _set(provider or traces.provider)
    try:
        yield traces
    finally:
        _set(None)


def _set(provider: trace.TracerProvider | None) -> None:
    # The API allows it once in a process; its own tests do this.
    trace._TRACER_PROVIDER_SET_ONCE = Once()
    trace._TRACER_PROVIDER = None
    if provider is not None:
        trace.set_tracer_provider(provider)


def linked(span: ReadableSpan) -> Sequence[int]:
    """Return the ids of the spans that a span links to."""
    return [link.context.span_id for link in span.links]
