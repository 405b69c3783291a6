"""Moving RouteMQ's jobs: copied first, then removed where they were.

The copy has an id that follows from the entry, and to store the same id again does nothing. So the
command may be cut off between any two steps, and be repeated: what was copied and not removed yet
is then only removed.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Protocol

from queued.cli.migrate.entry import Converter, Entry, Left, Where
from queued.drivers.base import Driver, FailedJob, NewJob
from queued.jobs.client import batches

BATCH = 200

Key = tuple[str, str, str]
"""Where, queue, class."""


class Source(Protocol):
    """Where RouteMQ keeps its jobs."""

    def places(self) -> Sequence[Any]: ...
    def entries(self, place: Any, skip: int, count: int) -> list[Entry]: ...
    def remove(self, place: Any, entries: Sequence[Entry]) -> None: ...
    def workers(self) -> list[str]: ...
    def close(self) -> None: ...


@dataclass(slots=True)
class Report:
    """How many jobs went over, and which were left and why."""

    moved: Counter[Key] = field(default_factory=Counter)
    left: Counter[tuple[*Key, str]] = field(default_factory=Counter)


class Move:
    """One go over a source.

    :param dry_run: nothing is stored and nothing removed.
    """

    def __init__(
        self, source: Source, driver: Driver, converter: Converter, *, dry_run: bool
    ) -> None:
        self._source = source
        self._driver = driver
        self._converter = converter
        self._dry_run = dry_run
        self.report = Report()

    async def run(self) -> Report:
        """Move all that can be moved.

        :raises DriverUnavailable: a back-end went away; what was not moved is where it was.
        """
        for place in self._source.places():
            kept = 0
            while entries := self._source.entries(place, kept, BATCH):
                moved = await self._copy(entries)
                if moved and not self._dry_run:
                    self._source.remove(place, moved)
                kept += len(entries) - (0 if self._dry_run else len(moved))
        return self.report

    async def _copy(self, entries: Sequence[Entry]) -> list[Entry]:
        """Store jobs in the order in which they stand; return those that are stored now."""
        ready: list[tuple[Entry, NewJob | FailedJob]] = []
        now = time.time()
        for entry in entries:
            key = (entry.where.value, entry.queue, entry.class_name or "?")
            try:
                ready.append((entry, self._made(entry, now)))
            except Left as reason:
                self.report.left[*key, str(reason)] += 1
            else:
                self.report.moved[key] += 1
        if not self._dry_run:
            for (queue, failed), group in groupby(ready, lambda one: _target(one[0])):
                await self._store(queue, [job for _, job in group], failed=failed)
        return [entry for entry, _ in ready]

    def _made(self, entry: Entry, now: float) -> NewJob | FailedJob:
        if entry.where is Where.FAILED:
            return self._converter.failure(entry)
        return self._converter.job(entry, now)

    async def _store(self, queue: str, jobs: list[Any], *, failed: bool) -> None:
        store = self._driver.restore if failed else self._driver.enqueue
        for batch in batches(jobs, [len(job.payload) for job in jobs]):
            await store(queue, batch)


def _target(entry: Entry) -> tuple[str, bool]:
    return entry.queue, entry.where is Where.FAILED
