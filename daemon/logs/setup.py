"""Setting up the log of a process: the links of structlog's chain, and who else writes into it."""

from __future__ import annotations

import contextvars
import json
import logging
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from structlog.typing import EventDict, Processor

from queued.daemon.logs.console import clean_for_console, for_people, renderer
from queued.daemon.logs.lines import Lines
from queued.daemon.logs.repeats import Repeats
from queued.daemon.logs.values import clean
from queued.daemon.logs.veils import add_exception, hide
from queued.daemon.spec import LogSpec
from queued.jobs.tracing import current_ids

LIBRARIES = ("aiosqlite", "asyncio", "sqlalchemy")
"""They log every call at the level debug, which would drown everything else."""


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
        render = renderer(colors=os.isatty(fd) and "NO_COLOR" not in os.environ)

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
        *((for_people,) if console else ()),
        add_exception,
        clean_for_console if console else _clean_for_json,
        render,
    ]


def _add_trace(_: Any, __: str, event: EventDict) -> EventDict:
    for name, value in current_ids().items():
        event.setdefault(name, value)
    return event


def _clean_for_json(_: Any, __: str, event: EventDict) -> EventDict:
    # json.dumps escapes every control character by itself
    ordered = {name: event.pop(name) for name in ("timestamp", "level", "event")}
    return clean({**ordered, **event})


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
