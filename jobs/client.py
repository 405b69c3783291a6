"""One event loop's way to the back-end, and the coalescing of dispatches.

A driver belongs to the loop that opened it, so there is a client for each loop of each process.
What is dispatched within one turn of a loop goes to the back-end together: two hundred tasks that
dispatch at once cost one round trip for each queue.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
from bisect import bisect_right
from collections.abc import AsyncGenerator, Coroutine, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple, TypeVar

from queued.drivers import driver_for
from queued.drivers.base import MAX_BATCH, Driver, Enqueued, NewJob
from queued.drivers.sequel import NewBatch
from queued.errors import DriverError, DriverUnavailable

T = TypeVar("T")

BATCH_BYTES = 16 * 1024 * 1024
"""The most that one call carries: a thousand payloads of a megabyte would take longer than any
call may, and block the back-end for all others."""


class _Waiting(NamedTuple):
    job: NewJob
    enqueued: asyncio.Future[Enqueued]


class Client:
    """A driver for one running loop, opened at its first use and closed with the loop."""

    def __init__(self, url: str, loop: asyncio.AbstractEventLoop) -> None:
        self.url = url
        self.loop = loop
        self._driver: Driver | None = None
        self._opening: asyncio.Task[Driver] | None = None
        self._lifetime: AsyncGenerator[None, None] | None = None
        self._pending: dict[str, list[_Waiting]] = {}
        self._collecting: asyncio.Task[None] | None = None
        self._sending: set[asyncio.Task[Any]] = set()
        # What the driver starts must not run in, and log with, the context of whoever came first.
        self._context = contextvars.Context()

    async def driver(self) -> Driver:
        """Return the open driver.

        :raises DriverUnavailable: it cannot be opened now; the next call tries again.
        :raises ConfigError: no driver is known for the URL.
        """
        if self._driver is not None:
            return self._driver
        if self._opening is None:
            self._opening = self.loop.create_task(self._open(), context=self._context.copy())
            self._opening.add_done_callback(self._opened)
        return await asyncio.shield(self._opening)

    def enqueue(self, queue: str, job: NewJob) -> asyncio.Future[Enqueued]:
        """Send a job with all others of this turn of the loop; the future says what became of it.

        A future that is cancelled before the turn ends takes its job back.
        """
        enqueued: asyncio.Future[Enqueued] = self.loop.create_future()
        self._pending.setdefault(queue, []).append(_Waiting(job, enqueued))
        if self._collecting is None or self._collecting.done():  # such as cancelled with all tasks
            self._collecting = self._start(self._send_pending())
        return enqueued

    def enqueue_all(self, queue: str, jobs: Sequence[NewJob]) -> asyncio.Task[list[Enqueued]]:
        """Send up to ``MAX_BATCH`` jobs at once; the answers say what became of each."""
        return self._start(self._enqueue(queue, jobs))

    def enqueue_batch(self, queue: str, batch: NewBatch) -> asyncio.Task[bool]:
        """Create a batch; the answer says whether it is new."""
        return self._start(self._enqueue_batch(queue, batch))

    async def close(self) -> None:
        """Wait for what is being sent, and close the driver. A later use opens it again."""
        while self._sending:
            await asyncio.wait(self._sending)
        if self._opening is not None:
            await asyncio.wait([self._opening])
        if self._lifetime is not None:
            await self._lifetime.aclose()

    async def _open(self) -> Driver:
        driver = driver_for(self.url)
        try:
            await driver.open()
        except BaseException:
            await driver.close()
            raise
        # A loop that shuts down closes its asynchronous generators while it still runs, so that
        # asyncio.run(main()) leaves no connection behind although nobody calls close().
        lifetime = self._live(driver)
        await anext(lifetime)
        self._driver, self._lifetime = driver, lifetime
        return driver

    async def _live(self, driver: Driver) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self._driver = self._lifetime = None
            await driver.close()

    def _opened(self, opening: asyncio.Task[Driver]) -> None:
        self._opening = None
        if not opening.cancelled():
            opening.exception()  # seen, also if whoever waited has gone

    def _start(self, sending: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task when this turn ends, whatever factory of tasks the program has."""
        task = asyncio.Task(sending, loop=self.loop, context=self._context)
        self._sending.add(task)
        task.add_done_callback(self._sent)
        return task

    def _sent(self, sending: asyncio.Task[Any]) -> None:
        self._sending.discard(sending)
        if not sending.cancelled():
            sending.exception()  # seen, also if whoever waited has gone

    async def _send_pending(self) -> None:
        """Send what waits; until the driver is open it goes on waiting, and what comes joins it."""
        try:
            await self.driver()
        except BaseException as error:
            for waiting in self._take_pending().values():
                _refuse(waiting, error)
            if not isinstance(error, Exception):
                raise
            return
        first, *others = [
            self._send(queue, batch)
            for queue, waiting in self._take_pending().items()
            for batch in batches(waiting, [len(one.job.payload) for one in waiting])
        ]
        for other in others:
            self._start(other)
        await first

    def _take_pending(self) -> dict[str, list[_Waiting]]:
        pending, self._pending, self._collecting = self._pending, {}, None
        return pending

    async def _enqueue(self, queue: str, jobs: Sequence[NewJob]) -> list[Enqueued]:
        driver = await self.driver()
        answers = await driver.enqueue(queue, jobs)
        if len(answers) != len(jobs):  # someone else's driver; callers must not wait for ever
            raise DriverError(f"{driver.name} gave {len(answers)} answers for {len(jobs)} jobs")
        return answers

    async def _enqueue_batch(self, queue: str, batch: NewBatch) -> bool:
        return await (await self.driver()).enqueue_batch(queue, batch)

    async def _send(self, queue: str, batch: Sequence[_Waiting]) -> None:
        waiting = [each for each in batch if not each.enqueued.done()]
        try:
            answers = await self._enqueue(queue, [each.job for each in waiting])
        except BaseException as error:
            _refuse(waiting, error)
            if not isinstance(error, Exception):
                raise
        else:
            for (_, enqueued), answer in zip(waiting, answers, strict=True):
                if not enqueued.done():
                    enqueued.set_result(answer)


def unavailable(error: DriverUnavailable, ids: Sequence[str], done: str = "") -> DriverUnavailable:
    """Return what a producer raises: ``error``, and the jobs whose fate it leaves unknown."""
    named = f"job {ids[0]}" if len(ids) == 1 else f"{len(ids)} jobs"
    told = DriverUnavailable(
        f"{error}; {done}{named} may have got there or not:"
        " to push again under the same id is safe",
        ids,
    )
    told.__cause__ = error
    return told


def _refuse(waiting: Sequence[_Waiting], error: BaseException) -> None:
    """Tell each caller why its job was not acknowledged."""
    for job, enqueued in waiting:
        if enqueued.done():
            continue
        if isinstance(error, DriverUnavailable):
            enqueued.set_exception(unavailable(error, [job.id]))
        elif isinstance(error, Exception):
            enqueued.set_exception(error)
        else:
            enqueued.cancel()


class Clients:
    """The clients of one producer, by loop. After a fork, the parent's are left alone."""

    def __init__(self) -> None:
        self._by_loop: dict[asyncio.AbstractEventLoop, Client] = {}
        self._pid = os.getpid()
        self._inherited: list[object] = []
        self._closing: set[asyncio.Task[None]] = set()

    def current(self, url: str) -> Client:
        """Return the running loop's client for ``url``, made if need be."""
        if self._pid != os.getpid():
            # To close or collect them would write to the parent's connections.
            self._inherited.append(self._by_loop)
            self._by_loop, self._pid = {}, os.getpid()
        loop = asyncio.get_running_loop()
        client = self._by_loop.get(loop)
        if client is not None and client.url == url:
            return client
        if client is not None:  # the producer was connected elsewhere
            task = loop.create_task(client.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        for known in list(self._by_loop):  # a copy: other threads bring and drop clients too
            if known.is_closed():
                self._by_loop.pop(known, None)
        client = self._by_loop[loop] = Client(url, loop)
        return client

    def pop(self) -> Client | None:
        """Forget the running loop's client, and return it."""
        return self._by_loop.pop(asyncio.get_running_loop(), None)


def batches(items: Sequence[T], sizes: Iterable[int]) -> Iterator[Sequence[T]]:
    """Yield items (one at least) in order, as many at a time as a ``Driver.enqueue`` may carry.

    ``sizes``: the bytes of each item's payload.
    """
    total = list(accumulate(sizes, initial=0))
    if total[-1] <= BATCH_BYTES and len(items) <= MAX_BATCH:
        yield items
        return
    start = 0
    while start < len(items):
        fit = bisect_right(total, total[start] + BATCH_BYTES) - 1
        stop = min(max(fit, start + 1), start + MAX_BATCH)
        yield items[start:stop]
        start = stop
