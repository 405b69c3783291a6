"""Whether this program traces, and what its current span is: asked without loading OpenTelemetry.

A program that traces has loaded it by itself and given it a TracerProvider. In all others nothing
of it is imported, and what it costs is a look into a dict.
"""

from __future__ import annotations

import sys
from typing import Any


def is_on() -> bool:
    """Tell whether this program has a TracerProvider."""
    api = sys.modules.get("opentelemetry.trace")
    if api is None or getattr(api, "_TRACER_PROVIDER", api) is None:
        return False  # its own function for this looks into the environment, at ten times the cost
    try:
        return type(api.get_tracer_provider()) is not api.ProxyTracerProvider
    except AttributeError:  # another thread is just importing it
        return False


def current_ids() -> dict[str, str]:
    """Return the ids of the current span, as log lines have them; none if there is no span."""
    api = sys.modules.get("opentelemetry.trace")
    get_current_span = getattr(api, "get_current_span", None)
    return ids_of(get_current_span()) if get_current_span is not None else {}


def ids_of(span: Any) -> dict[str, str]:
    """Return ``trace_id`` and ``span_id`` of a span in hexadecimal; none if it has none.

    Its class may be the user's: what that raises must not cost the line, nor the worker.
    """
    try:
        context = span.get_span_context()
        ids = {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
        is_valid = context.is_valid
    except Exception:  # noqa: BLE001 - see above
        return {}
    return ids if is_valid else {}
