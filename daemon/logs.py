"""How every process of the daemon logs: structlog, with the standard library's loggers in the same.

One line per event, on standard error: readable with colours on a terminal, JSON elsewhere. Events
have stable names (``job.failed``, ``worker.started``), and what happened stands in fields beside
them. A line written within a job carries the job's id, class, queue and attempt, whoever wrote it,
and in a worker that traces the ids of the current span.

Nothing that a job logs can forge a line or drive a terminal (control characters are escaped), and
what looks like a secret is not written: values of fields so named, passwords in URLs, and
``password=...`` within texts. That is a net below the user's own care, not a replacement for it.
The events are listed in docs/logs.md; those that repeat are held back by ``repeats``.
"""

from __future__ import annotations

import contextvars
import itertools
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog
from structlog.typing import EventDict, Processor

from queued.daemon.lines import Lines
from queued.daemon.repeats import Repeats
from queued.daemon.spec import LogSpec
from queued.daemon.veils import add_exception, hide, text_of
from queued.jobs.redaction import SECRET_NAME, redact_text
from queued.jobs.tracing import current_ids

LONGEST_TEXT = 16_384
"""Characters of one value; more is cut off."""
DEEPEST = 6
"""Levels of nested values; deeper ones are written as text."""
_LARGEST = 10**300
"""What is beyond it is written as text: Python refuses to write some thousand digits."""
LIBRARIES = ("aiosqlite", "asyncio", "sqlalchemy")
"""They log every call at the level debug, which would drown everything else."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_CONTROL_BUT_LINES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def configure(
    spec: LogSpec,
    context: Mapping[str, str] | None = None,
    *,
    fd: int = 2,
    copy: Callable[[bytes], None] | None = None,
) -> None:
    """Set up logging for this process; may be called again (after a fork, after a reload).

    :param context: fields that every line of this process carries, such as ``worker``.
    :param fd: the descriptor that the lines go to.
    :param copy: gets each line, too, as it is written: without secrets.
    """
    global _repeats  # noqa: PLW0603 - as structlog's own configuration, it is the process's
    level = logging.getLevelNamesMapping()[spec.level.upper()]
    lines = Lines(fd, copy)
    sum_up(at_once=True)
    _repeats = Repeats(jobs=spec.jobs != "all")
    structlog.configure(
        processors=_processors(spec.format, context or {}, fd, _repeats),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=False,  # a child configures again what its parent has used
    )
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, Forward):
            root.removeHandler(handler)
    root.addHandler(Forward())
    root.setLevel(level)
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(max(level, logging.INFO))
    logging.captureWarnings(True)
    threading.excepthook = _thread_crashed


_repeats: Repeats | None = None


def sum_up(*, at_once: bool = False) -> None:
    """Say how many repeated lines were held back, if that is due; called each second or so.

    :param at_once: this process ends.
    """
    if _repeats is not None:
        _repeats.sum_up(at_once=at_once)


def _processors(
    style: str, context: Mapping[str, str], fd: int, repeats: Repeats
) -> list[Processor]:
    console = style == "console" or (style == "auto" and os.isatty(fd))
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    render: Processor = structlog.processors.JSONRenderer(json.dumps)
    if console:
        stamp = structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)
        render = _console_renderer(colors=os.isatty(fd) and "NO_COLOR" not in os.environ)

    def add_process(_: Any, __: str, event: EventDict) -> EventDict:
        return {"event": "", **context, **event}  # structlog leaves out an event that is None

    return [
        structlog.contextvars.merge_contextvars,
        add_process,
        hide,
        repeats,
        _add_trace,
        structlog.processors.add_log_level,
        stamp,
        *((_for_people,) if console else ()),
        add_exception,
        _clean_for_console if console else _clean_for_json,
        render,
    ]


def _add_trace(_: Any, __: str, event: EventDict) -> EventDict:
    for name, value in current_ids().items():
        event.setdefault(name, value)
    return event


_LEVELS = {"warning": "warn", "critical": "fatal"}
_SAID = ("error", "final", "job", "seconds")
"""What a line's ``message`` says already,"""
_ALERT = ("subject", "value", "threshold")
_SAID_BY = {"alert.opened": _ALERT, "alert.resolved": _ALERT, "log.repeated": ("of", "times")}
"""and that of these events."""


def _for_people(_: Any, __: str, event: EventDict) -> EventDict:
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


def _console_renderer(*, colors: bool) -> Processor:
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


def _clean_for_json(_: Any, __: str, event: EventDict) -> EventDict:
    # json.dumps escapes every control character by itself
    ordered = {name: event.pop(name) for name in ("timestamp", "level", "event")}
    return clean({**ordered, **event})


_MULTILINE = ("stack", "exception")
"""The values that may have several lines; they are written below the others."""


def _clean_for_console(_: Any, __: str, event: EventDict) -> EventDict:
    cleaned = clean(event)
    many = {name: cleaned.pop(name, None) for name in _MULTILINE}
    escaped: dict[str, Any] = _escaped(cleaned)
    for name, lines in many.items():
        if lines is not None:
            escaped[name] = _CONTROL_BUT_LINES.sub(_escape, str(lines))
    return escaped


def clean(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of plain values without what looks like a secret; what is not plain is text."""
    return {str(name): _clean_value(name, value, DEEPEST) for name, value in event.items()}


def _clean_value(name: Any, value: Any, depth: int) -> Any:
    try:
        return _cleaned(str(name), value, depth)
    except Exception as error:  # noqa: BLE001 - a value's own code must cost neither line nor job
        return f"<{type(value).__name__} whose text raised {type(error).__name__}>"


def _cleaned(name: str, value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if SECRET_NAME.search(name):
        return "***"
    if isinstance(value, int | float) and -_LARGEST <= value <= _LARGEST:  # nan is not
        return value
    if isinstance(value, Mapping) and depth:
        return {str(key): _clean_value(key, item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset) and depth:
        names: Iterable[str] = itertools.repeat("")
        if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):  # noqa: PLR2004 - a pair, as of headers
            names = ("", value[0])
        return [_clean_value(name, item, depth - 1) for name, item in zip(names, value)]  # noqa: B905 - one may be endless
    return redact(text_of(value))


def redact(text: str) -> str:
    """Return ``text`` without what looks like a secret, cut to ``LONGEST_TEXT``."""
    if len(text) > LONGEST_TEXT:
        text = f"{text[:LONGEST_TEXT]}... ({len(text) - LONGEST_TEXT} more characters)"
    return redact_text(text)


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


_STANDARD = logging.makeLogRecord({}).__dict__.keys() | {"message", "event", "level", "taskName"}
"""Attributes that every record has; others came with ``extra=``."""


class Forward(logging.Handler):
    """Hands the records of the standard library's loggers to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level = max(logging.DEBUG, min(logging.CRITICAL, record.levelno // 10 * 10))
            fields = {name: record.__dict__[name] for name in record.__dict__.keys() - _STANDARD}
            fields |= {"logger": record.name, "exc_info": record.exc_info or None}
            structlog.get_logger().log(level, record.getMessage(), **fields)
        except Exception:  # noqa: BLE001 - as in logging's own handlers
            self.handleError(record)


def _thread_crashed(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is SystemExit:
        return
    error = (args.exc_type, args.exc_value, args.exc_traceback)
    name = args.thread.name if args.thread else "?"
    structlog.get_logger().error("thread.crashed", thread=name, exc_info=error)


def _variable(name: str) -> contextvars.ContextVar[Any]:
    """Return the context variable that structlog keeps for a field.

    To set it directly costs a tenth of ``bind_contextvars``, and each job does.
    """
    tokens = contextvars.Context().run(structlog.contextvars.bind_contextvars, **{name: None})
    return tokens[name].var


JOB_ID = _variable("job_id")
JOB = _variable("job")
ATTEMPT = _variable("attempt")
