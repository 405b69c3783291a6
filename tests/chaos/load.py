"""The load of the soak: producers that dispatch all kinds of jobs in all ways, at random."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

from queued.errors import DriverUnavailable
from queued.jobs.ids import new_ids
from queued.jobs.job import Job
from queued.jobs.queue import Queue
from tests.chaos import work
from tests.chaos.ledger import Ledger
from tests.chaos.stage import QUEUES

BACKLOG = 1_000
"""Jobs that wait when the producers pause, so that draining stays short."""
PAUSE = 0.15
"""The mean of the seconds between two calls of one producer."""
PRODUCERS = 3

Make = Callable[[Random], Job]

KINDS: dict[str, tuple[float, str, Make]] = {
    "quick": (10, "fast", lambda _: work.Quick()),
    "computes": (2, "fast", lambda chance: work.Computes(seconds=chance.uniform(0, 0.03))),
    "sleeps": (10, "slow", lambda chance: work.Sleeps(seconds=chance.uniform(0, 0.3))),
    "plain": (5, "plain", lambda chance: work.Plain(seconds=chance.uniform(0, 0.05))),
    "flaky": (3, "fast", lambda chance: work.Flaky(failures=chance.randint(1, 3))),
    "fails": (2, "fast", lambda _: work.Fails()),
    "refuses": (1, "plain", lambda _: work.Refuses()),
    "neighbours": (3, "rough", lambda chance: work.Sleeps(seconds=chance.uniform(0, 0.3))),
    "dies_once": (0.3, "rough", lambda chance: work.DiesOnce(how=_how(chance))),
    "poison": (0.05, "rough", lambda chance: work.Poison(how=_how(chance))),
    "blocks": (0.05, "rough", lambda _: work.Blocks()),
    "swallows": (0.05, "rough", lambda _: work.Swallows()),
}
"""Each kind with its weight, its queue, and how a job of it is made."""

DEADLY = frozenset({"dies_once", "poison", "blocks", "swallows"})
"""Kinds that end their worker, so that more dies than a plan says."""

BULKY = ("quick", "sleeps", "plain", "flaky", "fails")
"""Kinds that come in bulk."""


def _how(chance: Random) -> str:
    return chance.choice(("segfault", "exit", "kill"))


class Load:
    """Producers, from ``run`` until its cancellation is asked for by ``stop``.

    :param stop: set when enough was produced; what is under way is finished then.
    :param deadly: whether jobs are among it that end their worker.
    """

    def __init__(
        self,
        url: str,
        ledger: Ledger,
        chance: Random,
        stop: asyncio.Event,
        *,
        deadly: bool = True,
    ) -> None:
        self.acknowledged = 0
        self.doubted = 0
        self._queue = Queue(url)
        self._ledger = ledger
        self._chances = [Random(chance.random()) for _ in range(PRODUCERS)]
        self._stop = stop
        self._full = False
        self._weights = {
            name: weight for name, (weight, _, _) in KINDS.items() if deadly or name not in DEADLY
        }

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for chance in self._chances:
                    group.create_task(self._produce(chance))
                group.create_task(self._watch())
        finally:
            await self._queue.close()

    async def _produce(self, chance: Random) -> None:
        while not self._stop.is_set():
            if not self._full:
                await self._call(chance)
            await self._pause(chance.expovariate(1 / PAUSE))

    async def _watch(self) -> None:
        """Pause the producers while too much waits."""
        while not self._stop.is_set():
            try:
                waits = [await self._queue.size(queue) for queue in QUEUES]
            except DriverUnavailable:
                pass
            else:
                self._full = sum(waits) > BACKLOG
            await self._pause(0.5)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            pass

    async def _call(self, chance: Random) -> None:
        how = chance.random()
        if how < 0.3:
            name = chance.choice(BULKY)
            await self._dispatch(chance, name, chance.randint(2, 80), 0.0)
        elif how < 0.4:
            await self._dispatch(chance, self._any(chance), 1, chance.uniform(0.0, 3.0))
        else:  # several at once, which become one call
            names = [self._any(chance) for _ in range(chance.randint(1, 12))]
            await asyncio.gather(*(self._dispatch(chance, name, 1, 0.0) for name in names))

    def _any(self, chance: Random) -> str:
        return chance.choices(list(self._weights), list(self._weights.values()))[0]

    async def _dispatch(self, chance: Random, name: str, count: int, delay: float) -> None:
        _, queue, make = KINDS[name]
        jobs = [make(chance) for _ in range(count)]
        ids = new_ids(count)
        kind = "sleeps" if name == "neighbours" else name
        try:
            if count == 1:
                await self._queue.push(jobs[0], queue, delay, ids[0])
            else:
                await self._queue.bulk(jobs, queue, delay, ids)
        except DriverUnavailable as error:
            unknown = set(error.ids)
            self._ledger.doubt(unknown, kind)
            self.doubted += len(unknown)
            ids = [id_ for id_ in ids if id_ not in unknown]
        self._ledger.acknowledge(ids, kind)
        self.acknowledged += len(ids)
