"""What an encrypted job holds stays out of the log, whoever writes the line.

The veil of the job that runs is a context variable: lines of its own, of libraries that it calls
and of threads that it is run in have it hidden, before anything else is done with them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from structlog.typing import EventDict

from queued.jobs.records import trace
from queued.jobs.veil import Veil

VEIL: ContextVar[Veil | None] = ContextVar("queued_veil", default=None)
"""Of the job that runs here, if that is encrypted."""

_DEEPEST = 6
"""Levels of nested values; deeper ones are looked through as text."""
_OURS = frozenset({"attempt", "final", "job", "job_id", "process", "queue", "seconds", "worker"})
"""Fields that hold nothing of a job's own."""


@contextmanager
def veiled(veil: Veil | None) -> Iterator[None]:
    """Hide what an encrypted job holds in what is logged within the block."""
    if veil is None:
        yield
        return
    token = VEIL.set(veil)
    try:
        yield
    finally:
        VEIL.reset(token)


def hide(_: Any, __: str, event: EventDict) -> EventDict:
    """Be one of structlog's processors."""
    veil = VEIL.get()
    if veil is None:
        return event
    return {
        name: value if name in _OURS else _veiled(veil, value, _DEEPEST)
        for name, value in add_exception(None, "", event).items()
    }


def add_exception(_: Any, __: str, event: EventDict) -> EventDict:
    """Put a traceback into its field, from the user's own code on; also one of the processors."""
    found = event.pop("exc_info", None)
    if found is True:
        found = sys.exc_info()
    error = found[1] if isinstance(found, tuple) else found
    if isinstance(error, BaseException):
        event["exception"] = trace(error, VEIL.get())
    return event


def text_of(value: Any) -> str:
    """Return a value as the log has it; whatever its own code raises is passed on."""
    return f"{type(value).__name__}: {value}" if isinstance(value, Exception) else str(value)


def _veiled(veil: Veil, value: Any, depth: int) -> Any:
    try:
        return _shown(veil, value, depth)
    except Exception as error:  # noqa: BLE001 - a value's own code must cost neither line nor job
        return f"<{type(value).__name__} whose text raised {type(error).__name__}>"


def _shown(veil: Veil, value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Mapping) and depth:
        return {veil(text_of(key)): _veiled(veil, one, depth - 1) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset) and depth:
        return [_veiled(veil, one, depth - 1) for one in value]
    text = text_of(value)
    shown = veil(text)
    return value if shown == text and isinstance(value, int | float) else shown
