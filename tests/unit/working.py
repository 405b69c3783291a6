"""A worker on the reference driver, in the test's own loop: what its tests have in common."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

from queued.daemon.channel import Channel
from queued.daemon.scoreboard import Scoreboard
from queued.daemon.spec import LimitsSpec, OwnerName, WorkerSpec
from queued.daemon.worker.worker import Worker
from queued.drivers.base import Exchange, FailedJob, Lane, NewJob, QueueStats, RateLimit, Settlement
from queued.drivers.memory import MemoryDriver
from queued.errors import DriverUnavailable
from queued.jobs.job import Job
from queued.jobs.payload import encode

QUEUE = "tests"
INSTALL = "aaaaaaaa"
PATIENCE = 60.0
"""Seconds that a condition may take on a loaded machine; what fails here hangs."""

_numbers = itertools.count(1)

seen: list[Any] = []
"""What jobs have to tell a test; and by what it lets them go on:"""
state = SimpleNamespace()


async def fresh() -> AsyncIterator[None]:
    """Have nothing seen and everything held, as a fixture around each test."""
    seen.clear()
    state.go = asyncio.Event()
    state.thread_go = threading.Event()
    yield
    state.go.set()  # what was given up on ends with its test
    state.thread_go.set()
    await asyncio.sleep(0)


async def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait until the condition is true; return its value."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {PATIENCE} s for {what}; last: {value!r}"
        await asyncio.sleep(0.002)
    return value


class Backend(MemoryDriver):
    """The reference driver, with a record of its calls and, on demand, the faults of a network."""

    def __init__(self) -> None:
        super().__init__("memory://")
        self.exchanges: list[tuple[int, int, int, Lane]] = []
        """(nonce, settlements, want, lane) of each call of a worker."""
        self.listens: list[tuple[int, int, Lane]] = []
        """(nonce, want, lane) of each listen; one that gets to reserve is an exchange, too."""
        self.claims = 0
        self.down = False
        """No call gets through."""
        self.lose_answers = 0
        """So many exchanges are carried out and not answered."""
        self.gate = asyncio.Event()
        """While it is cleared, the answers of exchanges are held back."""
        self.gate.set()

    def check(self) -> None:
        if self.down:
            raise DriverUnavailable("the test has cut the line")

    async def exchange(
        self,
        queue: str,
        owner: str,
        settlements: Sequence[Settlement] = (),
        *,
        want: int = 0,
        nonce: int = 0,
        lease: float = 30.0,
        lane: Lane = Lane.NORMAL,
        limit: RateLimit | None = None,
    ) -> Exchange:
        if owner.startswith(INSTALL):  # and not the test's own
            self.exchanges.append((nonce, len(settlements), want, lane))
        self.check()
        answer = await super().exchange(
            queue, owner, settlements, want=want, nonce=nonce, lease=lease, lane=lane, limit=limit
        )
        await self.gate.wait()
        self.check()
        if self.lose_answers:
            self.lose_answers -= 1
            raise DriverUnavailable("the test has lost the answer")
        return answer

    async def listen(
        self,
        queue: str,
        owner: str,
        *,
        seconds: float,
        want: int,
        nonce: int,
        lease: float = 30.0,
        lane: Lane = Lane.NORMAL,
        limit: RateLimit | None = None,
    ) -> Exchange:
        self.listens.append((nonce, want, lane))
        self.check()
        return await super().listen(
            queue,
            owner,
            seconds=seconds,
            want=want,
            nonce=nonce,
            lease=lease,
            lane=lane,
            limit=limit,
        )

    async def claim_hooks(self, queue: str, limit: int, visible_after: float) -> list[FailedJob]:
        self.claims += 1
        return await super().claim_hooks(queue, limit, visible_after)

    async def open(self) -> None:
        self.check()

    async def renew(self, queue: str, owners: Sequence[str], lease: float) -> list[str]:
        self.check()
        return await super().renew(queue, owners, lease)


class Shop:
    """One queue on a back-end of its own, and the workers that a test puts to it."""

    def __init__(self) -> None:
        self.driver = Backend()
        self.board: Scoreboard | None = None
        self.master: Channel | None = None
        """The master's end of the last worker's channel."""
        self._made: list[Scoreboard | Channel] = []

    def close(self) -> None:
        for one in self._made:
            one.close()

    async def push(self, *jobs: Job, delay: float = 0.0) -> list[str]:
        """Enqueue jobs; return their ids."""
        return await self.push_raw(*[encode(job) for job in jobs], delay=delay)

    async def push_raw(self, *payloads: bytes, delay: float = 0.0) -> list[str]:
        new = [NewJob(f"job-{next(_numbers)}", payload, delay) for payload in payloads]
        await self.driver.enqueue(QUEUE, new)
        return [job.id for job in new]

    async def stats(self) -> QueueStats:
        return (await self.driver.stats([QUEUE]))[QUEUE]

    def spec(self, **values: Any) -> WorkerSpec:
        limits = {
            name: values.pop(name)
            for name in ("max_tries", "timeout", "retry_after", "backoff")
            if name in values
        }
        number = next(_numbers)
        return WorkerSpec(
            **{
                "owner": str(OwnerName(INSTALL, "bbbbbbbb", QUEUE, 1, number)),
                "pool": QUEUE,
                "index": 1,
                "generation": number,
                "url": "memory://",
                "limits": LimitsSpec(**limits),
                **values,
            }
        )

    def worker(self, make: Callable[..., Worker] = Worker, **values: Any) -> Worker:
        """Make a worker with a channel and a scoreboard, unless it is a standalone one."""
        spec = self.spec(**values)
        if make is not Worker:
            return make(spec, self.driver)
        self.board = Scoreboard.create(spec.concurrency)
        self.master, ours = Channel.pair()
        self._made += [self.board, self.master, ours]
        return make(spec, self.driver, ours, self.board)

    @asynccontextmanager
    async def open(self, make: Callable[..., Worker] = Worker, **values: Any) -> AsyncIterator[Any]:
        """Have a worker at work meanwhile; afterwards it is made to end."""
        worker = self.worker(make, **values)
        life = asyncio.create_task(worker.run())
        worker.over = life
        try:
            yield worker
        finally:
            self.driver.gate.set()
            if not life.done():
                worker.life.quit()
            async with asyncio.timeout(PATIENCE):
                await life

    async def clear(self, **values: Any) -> Worker:
        """Run a worker until every job is done or failed (or waits for its time)."""
        async with self.open(**values) as worker:
            await until_async(self._is_clear, "the queue to be worked off")
        return worker

    async def _is_clear(self) -> bool:
        stats = await self.stats()
        return stats.ready == stats.reserved == 0


async def until_async(condition: Callable[[], Any], what: str) -> Any:
    """Like ``until``, for a condition that is awaited."""
    deadline = time.monotonic() + PATIENCE
    while not (value := await condition()):
        assert time.monotonic() < deadline, f"waited {PATIENCE} s for {what}; last: {value!r}"
        await asyncio.sleep(0.002)
    return value


def counted(worker: Worker, metric: str, **labels: str) -> float:
    """Return the sum of a counter's series that have these labels."""
    series = worker.metrics.snapshot()["counters"].get(metric, [])
    return sum(value for found, value in series if labels.items() <= found.items())


def observed(worker: Worker, metric: str, **labels: str) -> int:
    """Return how many observations a histogram has."""
    series = worker.metrics.snapshot()["histograms"].get(metric, [])
    return sum(sum(counts) for found, counts, _ in series if labels.items() <= found.items())
