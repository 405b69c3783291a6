"""Lines that repeat: the first ones are written, and the rest are counted and summed up.

A job that fails a thousand times a second for one reason tells no more with the thousandth line
than with the twentieth, and writing them costs more than running it. Every failure is in the
back-end's failed store and in the metrics all the same.
"""

from __future__ import annotations

import contextvars
import os
import re
import time
from collections.abc import Callable
from typing import Any

import structlog
from structlog.typing import EventDict

from queued.units import format_duration

WRITTEN = 20
"""Lines of a kind that are written in each window,"""
WINDOW = 10.0
"""which is so many seconds."""
MOST_KINDS = 100
"""Kinds that are told apart in one window: the texts of errors come from outside."""

OF_JOBS = frozenset(
    {
        "job.failed",
        "job.lost",
        "job.overran",
        "job.released",
        "job.retried",
        "job.slow",
        "job.timed_out",
        "hook.failed",
        "hook.given_up",
        "hook.timed_out",
        "settlement.lost",
    }
)
OF_DAEMON = frozenset(
    {
        "channel.nonsense",
        "duty.failed",
        "frame.broken",
        "snapshot.broken",
        "task.crashed",
        "thread.crashed",
    }
)
"""Events that come as often as jobs, or whoever feeds us nonsense, will have it. Whatever the
user's own code logs is never held back, nor is what happens to a process."""

_VARIABLE = re.compile(r"\b[0-9a-fx-]*[0-9][0-9a-fx-]*\b", re.IGNORECASE)
"""Numbers and ids: ``no user 17`` and ``no user 18`` are one kind."""
_COMPARED = 200
"""Characters of an error's text that tell kinds apart."""
_NAMES = ("job", "duty", "child", "thread")
"""Fields that say whose line it is, the first that there is."""


class Repeats:
    """One of structlog's processors.

    No lock: threads of jobs may cost a count, and a fork never finds it held.

    :param jobs: whether events of jobs may be held back, too; whoever wants a line for every
        success gets one for every failure.
    """

    def __init__(self, *, jobs: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        self._limited = OF_DAEMON | OF_JOBS if jobs else OF_DAEMON
        self._clock = clock
        self._pid = os.getpid()
        self._began = 0.0
        self._seen: dict[_Key, _Kind] = {}

    def __call__(self, _: Any, method: str, event: EventDict) -> EventDict:
        name = event["event"]
        if not isinstance(name, str) or name not in self._limited:  # a job may log anything
            return event
        self.sum_up()
        if not self._seen:
            self._began = self._clock()
        key = _key(event)
        if key not in self._seen and len(self._seen) >= MOST_KINDS:
            key = _OTHER
        kind = self._seen.setdefault(key, _Kind(method, event))
        kind.times += 1
        if kind.times > WRITTEN:
            raise structlog.DropEvent
        return event

    def sum_up(self, *, at_once: bool = False) -> None:
        """Say how many lines of each kind were held back, when a window is over.

        :param at_once: the process ends: no more will come.
        """
        if not self._seen or self._pid != os.getpid():  # a fork's parent sums up its own
            return
        seconds = self._clock() - self._began
        if seconds < WINDOW and not at_once:
            return
        seen, self._seen = self._seen, {}
        for key, kind in seen.items():
            if kind.times > WRITTEN:
                # In a context of its own: it is no line of the job that happens to run now.
                contextvars.Context().run(_say, key, kind, seconds)


_Key = tuple[str, str, str]
"""Event, whose it is, and the error."""
_OTHER: _Key = ("", "", "")


class _Kind:
    """Lines that are alike."""

    __slots__ = ("fields", "method", "times")

    def __init__(self, method: str, event: EventDict) -> None:
        self.method = method
        self.fields = {name: event[name] for name in ("job", "error") if event.get(name)}
        self.times = 0


def _key(event: EventDict) -> _Key:
    whose = next((str(event[name]) for name in _NAMES if event.get(name)), "")
    error = event.get("error") or event.get("exc_info") or ""
    if not isinstance(error, str):
        error = repr(error)
    return event["event"], whose, _VARIABLE.sub("#", error[:_COMPARED])


def _say(key: _Key, kind: _Kind, seconds: float) -> None:
    held_back, span = kind.times - WRITTEN, format_duration(round(seconds, 1))
    of, fields = key[0], dict(kind.fields)
    if key is _OTHER:
        of, fields = "other", {}
    fields["message"] = f"{of} {held_back} more times in {span}"
    if "error" in fields:
        fields["message"] += f": {fields['error']}"
    log = structlog.get_logger()
    emit = log.error if kind.method == "error" else log.warning
    emit("log.repeated", of=of, times=held_back, seconds=round(seconds, 1), **fields)
