"""When a schedule's ticks are: by a cron expression in a time zone, or at even intervals.

Pure: whole seconds since the epoch in and out. cronsim, which does as Debian's cron does, is
imported when the first expression is read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import takewhile
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from queued.jobs.text import nearest

LATE = 60
"""Seconds that a tick may be late and still counts as on time: a daemon may be started anew."""
HORIZON = 8 * 366 * 86_400
"""Seconds within which the next tick is looked for: a 29th of February may be eight years away."""
_BEFORE = 3 * 3_600
_EXPECTED = {
    "minute": "0 to 59",
    "hour": "0 to 23",
    "day-of-month": "1 to 31, or L",
    "month": "1 to 12, or JAN to DEC",
    "day-of-week": "0 to 7, or SUN to SAT",
}
_STEPS = (3_600, 86_400, 31 * 86_400, 366 * 86_400, HORIZON)


class Due(NamedTuple):
    """What is to be done about the ticks since the last one."""

    on_time: list[int]
    """Those that came just now, the oldest first."""
    missed: int | None
    """The newest of those that nobody was there for; None: none."""


class Timetable:
    """The ticks of one schedule: of ``cron``, else every ``every`` seconds since the epoch.

    :raises ValueError: the expression or the time zone is not one; the message says why.
    """

    def __init__(self, *, cron: str | None, every: float | None, timezone: str = "UTC") -> None:
        self._cron = cron
        self._every = round(every or 0)
        self._zone = zone(timezone)
        if cron is not None:
            check_cron(cron)
        elif self._every < 1:
            raise ValueError("expected cron, or every with at least 1s")

    def ticks(self, after: int) -> Iterator[int]:
        """Yield the ticks after a moment, for ever (an expression may have no more of them)."""
        if self._cron is None:
            tick = after - after % self._every
            while True:
                tick += self._every
                yield tick
        from cronsim import CronSim  # noqa: PLC0415 - only who has a cron expression needs it

        # From before: in an hour that the local clock shows twice cronsim forgets which it was.
        start = datetime.fromtimestamp(after - _BEFORE, self._zone)
        for moment in CronSim(self._cron, start):
            tick = int(moment.timestamp())
            if tick > after:
                yield tick

    def next(self, after: int) -> int | None:
        """Return the first tick after a moment; None: there is none for eight years."""
        first = next(self.ticks(after), None)
        return first if first is not None and first - after < HORIZON else None

    def due(self, last: int, now: int) -> Due:
        """Return what is due at ``now``, when ``last`` was the last tick that was taken."""
        edge = max(last, now - LATE)
        on_time = list(takewhile(lambda tick: tick <= now, self.ticks(edge)))
        return Due(on_time, self._newest(last, edge) if edge > last else None)

    def _newest(self, after: int, until: int) -> int | None:
        """Return the newest tick in ``(after, until]``, without going through all of them."""
        for step in _STEPS:
            start = max(after, until - step)
            found = deque(takewhile(lambda tick: tick <= until, self.ticks(start)), maxlen=1)
            if found or start == after:
                return found[0] if found else None
        return None


def zone(name: str) -> ZoneInfo:
    """Return a time zone of the system's, or of the package tzdata.

    :raises ValueError: there is none of that name.
    """
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        hint = nearest(name, available_timezones())
        message = f"expected a time zone such as Europe/Paris or UTC, got {name!r}{hint}"
        raise ValueError(message) from None


def check_cron(expression: str) -> None:
    """Raise ``ValueError`` unless it is a cron expression of five fields."""
    from cronsim import CronSim, CronSimError  # noqa: PLC0415 - as above

    if len(expression.split()) != 5:  # noqa: PLR2004 - minute, hour, day, month, day of the week
        hint = "minute, hour, day of the month, month, day of the week, such as 0 3 * * 0"
        raise ValueError(f"expected five fields: {hint}; got {expression!r}")
    try:
        CronSim(expression, datetime.now(UTC))
    except CronSimError as error:
        problem = str(error).lower().removeprefix("bad ")
        expected = f" (expected {_EXPECTED[problem]})" if problem in _EXPECTED else ""
        raise ValueError(
            f"no cron expression: its {problem} is wrong in {expression!r}{expected}"
        ) from None
