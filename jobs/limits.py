"""How often and how long a job may run: what flag, class, queue and defaults say, resolved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from queued.errors import JobTimeout
from queued.jobs.backoff import Backoff, Growth
from queued.jobs.retrying import ALWAYS, Retrying
from queued.units import parse_duration

MAX_TRIES = 3
TIMEOUT = 60.0


class Level(Protocol):
    """What one level says: a job class, a queue (its defaults merged) or flags. None: nothing.

    Times are seconds or text such as ``5m``; a timeout of 0 means none; ``backoff`` is whatever
    ``Backoff.parse`` takes.
    """

    @property
    def max_tries(self) -> int | None: ...
    @property
    def timeout(self) -> float | str | None: ...
    @property
    def retry_after(self) -> float | str | None: ...
    @property
    def backoff(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """A ``Level`` by itself, for queues and flags."""

    max_tries: int | None = None
    timeout: float | str | None = None
    retry_after: float | str | None = None
    backoff: Any = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds for one job class on one queue. Times are seconds; a timeout of None is none."""

    max_tries: int = MAX_TRIES
    timeout: float | None = TIMEOUT
    backoff: Backoff = field(default_factory=Backoff)
    retrying: Retrying = ALWAYS

    @property
    def tries_after_timeout(self) -> int:
        """``max_tries`` of a run that was too long: 1 if its class does not want another one."""
        return 1 if self.retrying.refusal(JobTimeout) else self.max_tries

    def delay(self, tries: int) -> float:
        """Return the seconds before the run that follows ``tries`` charged tries."""
        return self.backoff.delay(tries)


_SILENT = PoolLimits()


def resolve(job: Level, pool: Level = _SILENT, flags: Level = _SILENT) -> Limits:
    """Return the limits of a job class: a flag wins, then the class, then the queue.

    The first level that says anything about delays decides them; there, ``backoff`` wins over
    ``retry_after``, which grows where RouteMQ's ``retry_backoff_enabled`` asks for it. Without any,
    a job has 3 tries of 60 s with no delay between them.

    :raises ValueError: a duration or a backoff is malformed.
    """
    levels = (flags, job, pool)
    max_tries = _first(levels, "max_tries", MAX_TRIES)
    timeout = parse_duration(_first(levels, "timeout", TIMEOUT))
    return Limits(
        max_tries=max_tries,
        timeout=timeout or None,
        backoff=_backoff(levels, Growth.of(job)),
        retrying=Retrying.of(job),
    )


def _first(levels: Sequence[Level], setting: str, fallback: Any) -> Any:
    for level in levels:
        value = getattr(level, setting)
        if value is not None:
            return value
    return fallback


def _backoff(levels: Sequence[Level], growth: Growth | None) -> Backoff:
    for level in levels:
        if level.backoff is not None:
            return Backoff.parse(level.backoff)
        if level.retry_after is not None:
            return growth.backoff(level.retry_after) if growth else Backoff.parse(level.retry_after)
    return Backoff()
