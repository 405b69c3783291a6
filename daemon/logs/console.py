"""The log on a terminal: what is left out there, and how a line is laid out."""

from __future__ import annotations

import re
from typing import Any

import structlog
from structlog.typing import EventDict, Processor

from queued.daemon.logs.values import clean

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_CONTROL_BUT_LINES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_LEVELS = {"warning": "warn", "critical": "fatal"}
_SAID = ("error", "final", "job", "seconds")
"""What a line's ``message`` says already,"""
_ALERT = ("subject", "value", "threshold")
_SAID_BY = {"alert.opened": _ALERT, "alert.resolved": _ALERT, "log.repeated": ("of", "times")}
"""and that of these events."""


def for_people(_: Any, __: str, event: EventDict) -> EventDict:
    """Say each thing once: a terminal has no room for what JSON and `queued job ID` have.

    A run that is tried again shows its error without the traceback, which the last one has.
    """
    process = event.pop("process", "")
    event["where"] = event.pop("worker", None) or process
    for name in ("queue", "trace_id", "span_id"):  # the worker's name says the queue
        event.pop(name, None)
    job_id = event.pop("job_id", None)
    attempt = event.pop("attempt", 1)
    if "message" in event:
        for name in (*_SAID, *_SAID_BY.get(str(event["event"]), ())):
            event.pop(name, None)
        if event["level"] == "warning":
            for name in ("exc_info", "exception"):
                event.pop(name, None)
            return event
    elif "job" in event:
        event["job"] = str(event["job"]).rpartition(".")[2]
        if attempt != 1:
            event["attempt"] = attempt
        return event
    if job_id is not None:
        event["job_id"] = job_id
    return event


def renderer(*, colors: bool) -> Processor:
    """Return structlog's renderer: time, level, event, worker and message in columns."""
    dev = structlog.dev
    reset, dim, bright, cyan, magenta = (
        (dev.RESET_ALL, dev.DIM, dev.BRIGHT, dev.CYAN, dev.MAGENTA) if colors else ("",) * 5
    )

    def plain(style: str, width: int = 0) -> dev.KeyValueColumnFormatter:
        return dev.KeyValueColumnFormatter(None, style, reset, str, width=width)

    def level(key: str, value: object) -> str:  # noqa: ARG001 - structlog's signature
        name = str(value)
        style = dev.ConsoleRenderer.get_default_level_styles(colors)[name]
        return f"{style}{_LEVELS.get(name, name):<5}{reset}"

    def short(value: object) -> str:
        text = str(value)
        return repr(text) if " " in text else text

    rest = dev.KeyValueColumnFormatter(cyan, magenta, reset, short)
    return dev.ConsoleRenderer(
        columns=[
            dev.Column("timestamp", plain(dim)),
            dev.Column("level", level),
            dev.Column("event", plain(bright, 17)),
            dev.Column("where", plain(cyan, 14)),
            dev.Column("message", plain("")),
            dev.Column("", rest),
        ],
        exception_formatter=dev.plain_traceback,
        sort_keys=False,
    )


_MULTILINE = ("stack", "exception")
"""The values that may have several lines; they are written below the others."""


def clean_for_console(_: Any, __: str, event: EventDict) -> EventDict:
    """Clean an event, and escape what would drive a terminal."""
    cleaned = clean(event)
    many = {name: cleaned.pop(name, None) for name in _MULTILINE}
    escaped: dict[str, Any] = _escaped(cleaned)
    for name, lines in many.items():
        if lines is not None:
            escaped[name] = _CONTROL_BUT_LINES.sub(_escape, str(lines))
    return escaped


def _escaped(value: Any) -> Any:
    match value:
        case str():
            return _CONTROL.sub(_escape, value)
        case dict():
            return {_escaped(key): _escaped(item) for key, item in value.items()}
        case list():
            return [_escaped(item) for item in value]
    return value


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()
