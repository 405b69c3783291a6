"""How a worker comes to trace: a function of the user's gives it a TracerProvider after the fork.

Not before: the thread of a span processor would stay in the process that was forked from. What it
has not exported when the worker ends is exported then, since ``os._exit`` runs no hooks.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import structlog

from queued.daemon.spec import WorkerSpec
from queued.jobs import imports, tracing
from queued.jobs.records import trace

if TYPE_CHECKING:
    from queued.daemon.worker.spans import Spans

log = structlog.get_logger()

FLUSH_WITHIN = 2.0
"""Seconds that an ending worker gives to the export; its master kills it after 5."""


def set_up(function: str) -> None:
    """Call ``module:function`` of queue.yaml. Whatever it raises costs the traces, not the jobs."""
    if not function:
        return
    try:
        imports.function(function)()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - it is the user's
        log.error("tracing.failed", function=function, exception=trace(error))  # noqa: TRY400
        return
    if not tracing.is_on():
        hint = "it has to call opentelemetry.trace.set_tracer_provider()"
        log.warning("tracing.off", function=function, hint=hint)


def spans(spec: WorkerSpec) -> Spans | None:
    """Return what makes the spans of a worker; None: this process does not trace."""
    if not tracing.is_on():
        return None
    from queued.daemon.worker.spans import Spans  # noqa: PLC0415 - loads OpenTelemetry

    return Spans(spec)


def flush() -> None:
    """Have the last spans exported, and the exporter closed: a collector that hangs is left."""
    if not tracing.is_on():
        return
    from opentelemetry.trace import get_tracer_provider  # noqa: PLC0415 - it is loaded already

    shutdown = getattr(get_tracer_provider(), "shutdown", None)
    if shutdown is None:  # not of the SDK
        return
    thread = threading.Thread(target=shutdown, name="tracing-flush", daemon=True)
    thread.start()
    thread.join(FLUSH_WITHIN)
    if thread.is_alive():
        log.warning("tracing.not_flushed", waited=FLUSH_WITHIN)
