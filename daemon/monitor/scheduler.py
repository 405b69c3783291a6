"""The schedules of queue.yaml: every monitor tries to take each tick, and one of them does.

There is no leader. A tick is due by the back-end's clock, and is taken in the step that enqueues
its job (``Driver.tick``), so it does not matter how many monitors there are, which dies when, nor
whether their hosts' clocks are right.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime

import structlog

from queued.daemon.duty import for_each
from queued.daemon.reach import Reach
from queued.daemon.spec import ScheduleSpec
from queued.drivers.base import Driver, NewJob
from queued.jobs.payload import of_fields
from queued.jobs.timetable import LATE, Timetable

log = structlog.get_logger()

LOOK_EVERY = 1.0
LONGEST_REST = 10.0
"""Seconds after which the back-end's clock is asked for again, however far the next tick is."""


def tick_id(schedule: str, tick: int) -> str:
    """Return the id of a tick's job, the same on every host: ``cleanup:20261129T030000Z``."""
    return f"{schedule}:{datetime.fromtimestamp(tick, UTC):%Y%m%dT%H%M%SZ}"


class Scheduler:
    """The schedules of one daemon."""

    def __init__(self, driver: Driver, reach: Reach, schedules: Mapping[str, ScheduleSpec]) -> None:
        self.last: dict[str, int] = {}
        """The last tick of each, in seconds since the epoch, once it is known."""
        self.next: dict[str, int] = {}
        """The next tick of each that has one."""
        self._driver = driver
        self._reach = reach
        self._schedules = schedules
        self._tables = {
            name: Timetable(cron=one.cron, every=one.every, timezone=one.timezone)
            for name, one in schedules.items()
        }
        self._rests_until: dict[str, float] = {one.queue: 0.0 for one in schedules.values()}

    async def turn(self) -> None:
        """Take the ticks that are due."""
        now = time.monotonic()
        await for_each(
            [one for one, until in self._rests_until.items() if now >= until], self._serve
        )

    async def _serve(self, queue: str) -> int:
        asked = time.monotonic()
        with self._reach.watch("ticks"):
            known = await self._driver.ticks(queue)
        now = int(known.now)
        rest = LONGEST_REST
        for name, one in self._schedules.items():
            if one.queue != queue:
                continue
            self.last[name] = await self._advance(name, known.last.get(name), now)
            following = self._tables[name].next(max(self.last[name], now))
            self.next.pop(name, None)
            if following is not None:
                self.next[name] = following
                rest = min(rest, following - known.now)
        self._rests_until[queue] = asked + rest
        return 0

    async def _advance(self, name: str, last: int | None, now: int) -> int:
        """Take what is due of a schedule; return the last tick as far as is known here."""
        if last is None or last > now + LATE:
            if last is not None:
                log.warning("schedule.clock_set_back", schedule=name, last=_text(last))
            await self._take(name, last, now, runs=False)
            return now
        due = self._tables[name].due(last, now)
        if due.missed is not None:
            runs = self._schedules[name].catch_up and not due.on_time
            if not await self._take(name, last, due.missed, runs=runs):
                return last  # another host was faster, and has told of it
            log.warning(
                "schedule.missed", schedule=name, tick=_text(due.missed), since=_text(last),
                next="run once now" if runs else "left out",
            )  # fmt: skip
            last = due.missed
        for tick in due.on_time:
            if not await self._take(name, last, tick, runs=True):
                break
            last = tick
        return last

    async def _take(self, name: str, last: int | None, tick: int, *, runs: bool) -> bool:
        one, job = self._schedules[name], None
        if runs:
            job_id = tick_id(name, tick)
            job = NewJob(job_id, of_fields(one.job, one.args, one.queue, job_id))
        with self._reach.watch("tick"):
            taken = await self._driver.tick(one.queue, name, last, tick, job)
        if taken and job is not None:
            log.info("schedule.tick", schedule=name, queue=one.queue, job=one.job, job_id=job.id)
        return taken


def _text(moment: int) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()
