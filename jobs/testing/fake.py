"""``fake()``: the program's producer on a back-end in memory that remembers what came.

The producer stays the real one, so that jobs are validated and encoded as ever; only where it sends
them to is another place, with a clock that stands still until it is told to travel.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from queued.drivers import register_driver
from queued.drivers.base import Enqueued, NewJob
from queued.drivers.memory import MemoryDriver
from queued.drivers.sequel import NewBatch, Parcel, links
from queued.jobs.job import Job
from queued.jobs.queue import Queue, queue
from queued.jobs.testing.dispatched import Dispatched, JobKind, Wanted, class_of, listed
from queued.jobs.testing.ran import Ran
from queued.jobs.testing.running import in_a_loop, work_off
from queued.jobs.testing.store import Duration, FakeStore, seconds

_numbers = itertools.count(1)
_in_use: dict[str, FakeQueue] = {}
"""By URL; the last one is what the functions without a queue speak of."""


class FakeDriver(MemoryDriver):
    """The memory driver, and a list of what it was asked to enqueue."""

    def __init__(self, url: str) -> None:
        self._fake = _in_use[url]
        super().__init__(url, self._fake.store)

    @classmethod
    def joined(cls, url: str) -> FakeJoin:
        return FakeJoin(cls(url))

    def put(self, queue: str, jobs: Sequence[NewJob]) -> list[Enqueued]:
        answers = super().put(queue, jobs)
        for job, enqueued in zip(jobs, answers, strict=True):
            self._note(Parcel(queue, job), enqueued=enqueued is True)
        return answers

    async def enqueue_batch(self, queue: str, batch: NewBatch) -> bool:
        enqueued = await super().enqueue_batch(queue, batch)
        for parcel in batch.members:
            self._note(parcel, enqueued=enqueued)
        return enqueued

    def _note(self, parcel: Parcel, *, enqueued: bool) -> None:
        """Take note of a job, and of those that follow it in its chain."""
        self._fake.all += [Dispatched(*one, enqueued) for one in links(parcel)]


class FakeJoin:
    """What ``queue.within`` does meanwhile: it remembers at once, commit or not."""

    def __init__(self, driver: FakeDriver) -> None:
        self._driver = driver

    def enqueue(self, _: object, queue: str, jobs: Sequence[NewJob]) -> list[Enqueued]:
        return self._driver.put(queue, jobs)


class FakeQueue:
    """What was dispatched meanwhile, and the means to look for it and to run it."""

    def __init__(self) -> None:
        self.url = f"fake://{next(_numbers)}"
        self.store = FakeStore()
        self.all: list[Dispatched] = []
        """Everything that was dispatched, the oldest first; also what was there already."""

    def dispatched(self, job_class: JobKind = Job, **fields: Any) -> list[Dispatched]:
        """Return what was dispatched of a class (and with these values), the oldest first."""
        return Wanted(job_class=class_of(job_class), fields=fields).among(self.all)

    def assert_dispatched(
        self,
        job_class: JobKind,
        *,
        times: int | None = None,
        queue: str | None = None,
        delay: Duration | None = None,
        matching: Callable[[Any], bool] | None = None,
        **fields: Any,
    ) -> list[Dispatched]:
        """Check that jobs of a class were dispatched, and return them.

        :param times: how many of them; None: one or more.
        :param delay: how long they have to wait; 0: not at all.
        :param matching: is given each job, and says whether it is one of them.
        :param fields: what the job's fields are equal to.
        :raises AssertionError: they were not; the message lists what was dispatched.
        """
        wanted = _wanted(job_class, queue, delay, matching, fields)
        found = wanted.among(self.all)
        if (not found) if times is None else len(found) != times:
            often = "" if times is None else f" {_often(times)}"
            but = f", but that was {_often(len(found))}" if found else ""
            raise AssertionError(
                f"expected {wanted} to be dispatched{often}{but}; {listed(self.all)}"
            )
        return found

    def assert_not_dispatched(
        self,
        job_class: JobKind,
        *,
        queue: str | None = None,
        delay: Duration | None = None,
        matching: Callable[[Any], bool] | None = None,
        **fields: Any,
    ) -> None:
        """Check that no such job was dispatched; the rest is as for ``assert_dispatched``."""
        wanted = _wanted(job_class, queue, delay, matching, fields)
        if wanted.among(self.all):
            raise AssertionError(f"expected no {wanted} to be dispatched; {listed(self.all)}")

    def assert_nothing_dispatched(self) -> None:
        """Check that no job at all was dispatched."""
        if any(one.enqueued for one in self.all):
            raise AssertionError(f"expected nothing to be dispatched; {listed(self.all)}")

    def travel(self, time: Duration) -> None:
        """Let time pass for the back-end: delayed jobs become due, those that waited get older.

        :raises ValueError: it is no duration.
        """
        self.store.travel(seconds(time))

    def clear(self) -> None:
        """Forget what was dispatched, and every job."""
        with self.store.lock:
            self.all.clear()
            self.store.queues.clear()

    async def drain(self, *, limit: int = 1_000, travel: bool = True) -> list[Ran]:
        """Run every job in this process, one after the other, until none is left; return the runs.

        Whatever comes of them is run as well: retries, and what they dispatch.

        :param limit: how many runs there may be.
        :param travel: whether time passes to where a delayed job is due; without, only what is due
            now is run.
        :raises AssertionError: there were ``limit`` runs, and jobs are left.
        """
        return await work_off(self.store, FakeDriver(self.url), self.url, limit, travel=travel)

    def drain_now(self, *, limit: int = 1_000, travel: bool = True) -> list[Ran]:
        """Do what ``drain`` does, for tests that are plain functions."""
        return in_a_loop("drain", self.drain, limit=limit, travel=travel)


@contextmanager
def fake(producer: Queue = queue) -> Iterator[FakeQueue]:
    """Keep what is dispatched within the block: no back-end is asked, none need be configured.

    :param producer: whose jobs; the program's own, used by ``dispatch``, unless given.
    """
    one = FakeQueue()
    _in_use[one.url] = one
    register_driver("fake", FakeDriver)
    try:
        with producer.instead(one.url):
            yield one
    finally:
        del _in_use[one.url]


def assert_dispatched(job_class: JobKind, **expected: Any) -> list[Dispatched]:
    """Check what the fake queue in use got: see ``FakeQueue.assert_dispatched``."""
    return _current().assert_dispatched(job_class, **expected)


def assert_not_dispatched(job_class: JobKind, **expected: Any) -> None:
    """Check what the fake queue in use got: see ``FakeQueue.assert_not_dispatched``."""
    _current().assert_not_dispatched(job_class, **expected)


def assert_nothing_dispatched() -> None:
    """Check that the fake queue in use got no job at all."""
    _current().assert_nothing_dispatched()


def _current() -> FakeQueue:
    if not _in_use:
        raise RuntimeError(
            "no fake queue is in use: give the test the fixture fake_queue, or enter"
            " queued.jobs.testing.fake()"
        )
    return next(reversed(_in_use.values()))


def _wanted(
    job_class: JobKind,
    queue: str | None,
    delay: Duration | None,
    matching: Callable[[Any], bool] | None,
    fields: dict[str, Any],
) -> Wanted:
    return Wanted(
        job_class=class_of(job_class),
        fields=fields,
        queue=queue,
        delay=None if delay is None else seconds(delay),
        matching=matching,
    )


def _often(times: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(times, f"{times} times")
