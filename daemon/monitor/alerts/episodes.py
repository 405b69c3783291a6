"""When something is said: once when an alert begins, once when it is over.

An episode begins when readings have been bad for a while without a break, and ends when they have
been good for a while; what is unclear changes nothing. Episodes that are open and notices that are
not delivered are kept in a file, so that a new monitor goes on where the one before it ended.
"""

from __future__ import annotations

import json
import math
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from queued.daemon.monitor.alerts.readings import Alert, Finding, Reading
from queued.units import format_duration

log = structlog.get_logger()

OPENED, RESOLVED, TEST = "alert.opened", "alert.resolved", "alert.test"

STEADY: Mapping[Alert, tuple[float, float]] = {
    Alert.QUEUE_LATE: (10.0, 60.0),
    Alert.QUEUE_FAILING: (0.0, 60.0),
    Alert.POOL_FATAL: (0.0, 30.0),
    Alert.POOL_CRASHING: (0.0, 60.0),
    Alert.BACKEND_UNREACHABLE: (30.0, 30.0),
}
"""Seconds that readings must be bad to open an episode, and good to end it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One thing to be said, as it is logged and posted."""

    id: str
    """Of this notice: a receiver that gets it twice knows by it."""
    type: str
    """``alert.opened``, ``alert.resolved``, or ``alert.test``."""
    at: float
    """Seconds since the epoch, as ``opened_at``."""
    episode: str
    """The same for the beginning and the end of one episode."""
    alert: str
    subject: str
    message: str
    value: float | None = None
    threshold: float | None = None
    opened_at: float


@dataclass(slots=True)
class _Watch:
    """What has been seen of one alert of one subject. Times are monotonic."""

    bad_since: float | None = None
    good_since: float | None = None
    opened: Notice | None = None
    """What began the episode; None: there is none."""

    def take(self, finding: Finding, now: float) -> None:
        self.bad_since = (self.bad_since or now) if finding is Finding.BAD else None
        self.good_since = (self.good_since or now) if finding is Finding.GOOD else None


@dataclass(slots=True)
class Episodes:
    """The alerts that are watched.

    :param steadiness: what the times of ``STEADY`` are multiplied by.
    """

    steadiness: float = 1.0
    _watches: dict[tuple[str, str], _Watch] = field(default_factory=dict)

    @property
    def open(self) -> list[Notice]:
        """What began the episodes that are not over."""
        return [watch.opened for watch in self._watches.values() if watch.opened]

    def go_on(self, opened: Iterable[Notice]) -> None:
        """Take over the open episodes of the monitor before."""
        for notice in opened:
            self._watches[notice.alert, notice.subject] = _Watch(opened=notice)

    def look(self, readings: Iterable[Reading], *, now: float, at: float) -> list[Notice]:
        """Take in what is read now; return what is to be said.

        :param now: monotonic seconds.
        :param at: seconds since the epoch.
        """
        notices = []
        unread = dict.fromkeys(self._watches)
        for reading in readings:
            key = (reading.alert.value, reading.subject)
            unread.pop(key, None)
            watch = self._watches.setdefault(key, _Watch())
            watch.take(reading.finding, now)
            notices += self._judge(watch, reading, now, at)
        for key in unread:  # queue.yaml says nothing of it any more
            if opened := self._watches.pop(key).opened:
                notices.append(_resolved(opened, "it is not watched any more", at))
        return notices

    def _judge(self, watch: _Watch, reading: Reading, now: float, at: float) -> list[Notice]:
        to_open, to_end = (self.steadiness * seconds for seconds in STEADY[reading.alert])
        if watch.opened is None:
            if watch.bad_since is None or now - watch.bad_since < to_open:
                return []
            watch.opened = _opened(reading, at)
            return [watch.opened]
        if watch.good_since is None or now - watch.good_since < to_end:
            return []
        notice = _resolved(watch.opened, reading.message, at, reading.value)
        watch.opened = None
        return [notice]


def _opened(reading: Reading, at: float) -> Notice:
    return Notice(
        id=_new_id("msg"),
        type=OPENED,
        at=at,
        episode=_new_id("ep"),
        alert=reading.alert.value,
        subject=reading.subject,
        message=reading.message,
        value=reading.value,
        threshold=reading.threshold,
        opened_at=at,
    )


def _resolved(opened: Notice, message: str, at: float, value: float | None = None) -> Notice:
    lasted = format_duration(max(0, round(at - opened.opened_at)))
    return replace(
        opened,
        id=_new_id("msg"),
        type=RESOLVED,
        at=at,
        message=f"{message}; it lasted {lasted}",
        value=value,
    )


def a_test(at: float) -> Notice:
    """Return a notice that says nothing but that it has come; it begins no episode.

    :param at: seconds since the epoch.
    """
    return Notice(
        id=_new_id("msg"),
        type=TEST,
        at=at,
        episode=_new_id("ep"),
        alert="test",
        subject="webhook",
        message="a test: alerts of this daemon get here",
        opened_at=at,
    )


def _new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(12)}"


def _stored(values: Mapping[str, Any]) -> Notice:
    """Return a notice of the file.

    :raises (TypeError, ValueError): it is none.
    """
    notice = Notice(**values)
    texts = (notice.id, notice.episode, notice.alert, notice.subject, notice.message)
    if not all(isinstance(text, str) for text in texts) or notice.type not in {
        OPENED,
        RESOLVED,
        TEST,
    }:
        raise TypeError("a text that is none")
    for moment in (notice.at, notice.opened_at):
        datetime.fromtimestamp(moment, UTC)
    for number in (notice.value, notice.threshold):
        if number is not None and not math.isfinite(number):
            raise ValueError(f"no number: {number}")
    return notice


class EpisodesFile:
    """Where open episodes and undelivered notices outlive a monitor.

    :param path: None: nowhere.
    """

    def __init__(self, path: str | None) -> None:
        self._path = Path(path) if path else None
        self._complained = False

    def load(self) -> tuple[list[Notice], list[Notice]]:
        """Return the notices of open episodes and those to be delivered; none if it is broken."""
        if self._path is None:
            return [], []
        try:
            values = json.loads(self._path.read_bytes())
            opened = [_stored(one) for one in values["open"]]
            return opened, [_stored(one) for one in values["outbox"]]
        except FileNotFoundError:
            pass
        except (
            OSError,
            ValueError,
            TypeError,
            LookupError,
            ArithmeticError,
        ) as error:  # another version's, or torn
            log.warning("episodes.unreadable", path=str(self._path), error=repr(error))
        return [], []

    def save(self, opened: Iterable[Notice], outbox: Iterable[Notice]) -> None:
        """Replace the file in one step. That it cannot be written is said once."""
        if self._path is None:
            return
        values = {
            "open": [asdict(one) for one in opened],
            "outbox": [asdict(one) for one in outbox],
        }
        new = self._path.with_suffix(f".{os.getpid()}")
        try:
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(fd, "w") as file:
                json.dump(values, file)
            new.replace(self._path)
        except OSError as error:
            if not self._complained:
                log.warning("episodes.not_kept", path=str(self._path), error=error.strerror)
            self._complained = True
        else:
            self._complained = False
