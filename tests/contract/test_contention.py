"""Many clients at once: each verb is one step, so each job goes one way."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from queued.drivers.base import Ack, Charge, Driver, NewJob, Reservation, Settlement, State
from queued.errors import OwnerLost
from tests.contract.conftest import MakeDriver
from tests.contract.steps import (
    ME,
    OTHER,
    Q,
    ack,
    fail,
    ids,
    names,
    push,
    release,
    reserve,
    retry,
    settle,
    size,
)

CLIENTS = 8


async def clients(make_driver: MakeDriver, count: int = CLIENTS) -> list[Driver]:
    return [await make_driver() for _ in range(count)]


async def test_two_hundred_workers_reserve_each_job_once(make_driver: MakeDriver) -> None:
    drivers = await clients(make_driver)
    await push(drivers[0], *names(1000))
    seen: list[Reservation] = []

    async def work(driver: Driver, owner: str) -> None:
        nonce, finished = 1, list[Settlement]()
        while True:
            answer = await driver.exchange(Q, owner, finished, want=3, nonce=nonce)
            assert answer.lost == []
            if not answer.jobs:
                return
            seen.extend(answer.jobs)
            nonce, finished = nonce + 1, [ack(job) for job in answer.jobs]

    await asyncio.gather(*(work(drivers[n % CLIENTS], f"worker-{n}") for n in range(200)))
    assert sorted(ids(seen)) == names(1000)
    assert len({job.fence for job in seen}) == 1000
    stats = (await drivers[0].stats([Q]))[Q]
    assert (stats.size, stats.reserved, stats.enqueued_total) == (0, 0, 1000)


async def test_fifo_holds_for_each_of_many_workers(make_driver: MakeDriver) -> None:
    """What one worker gets never goes back in time, whoever else takes jobs meanwhile."""
    drivers = await clients(make_driver, 4)
    await push(drivers[0], *names(400))

    async def work(driver: Driver, owner: str) -> list[str]:
        mine: list[str] = []
        while jobs := await reserve(driver, 5, owner=owner):
            mine += ids(jobs)
        return mine

    got = await asyncio.gather(*(work(drivers[n % 4], f"worker-{n}") for n in range(12)))
    assert all(mine == sorted(mine) for mine in got)
    assert sorted(name for mine in got for name in mine) == names(400)


async def test_workers_producers_and_deaths_at_once(make_driver: MakeDriver) -> None:
    """Owners die at random and are reclaimed: every job is done once, or was handed back."""
    drivers = await clients(make_driver)
    rng = random.Random(20)
    total = 600
    done: Counter[str] = Counter()

    async def produce(driver: Driver, start: int) -> None:
        for first in range(start, start + total // 4, 10):
            batch = [NewJob(name, b"", rng.choice([0, 0, 0.01])) for name in names(total)]
            assert all(await driver.enqueue(Q, batch[first : first + 10]))

    async def work(driver: Driver, worker: int) -> None:
        generation = 0
        while sum(done.values()) < total:
            owner, generation = f"worker-{worker}-{generation}", generation + 1
            for nonce in range(1, 20):
                got = (await driver.exchange(Q, owner, want=4, nonce=nonce)).jobs
                if rng.random() < 0.2:
                    break  # it dies with what it holds
                await settle_some(driver, owner, got)
                await asyncio.sleep(0)  # the memory driver never waits, and others want a turn
            await reclaim(driver, owner)

    async def settle_some(driver: Driver, owner: str, jobs: list[Reservation]) -> None:
        kinds = [ack, ack, ack, retry, lambda job: retry(job, 0.01), release]
        settlements = [rng.choice(kinds)(job) for job in jobs]
        assert await settle(driver, *settlements, owner=owner) == []
        done.update(s.id for s in settlements if isinstance(s, Ack))

    async def reclaim(driver: Driver, owner: str) -> None:
        held = await driver.retire(Q, owner)
        back = [release(job, Charge.RELEASE) for job in held]
        assert await settle(driver, *back, owner=owner) == []
        with pytest.raises(OwnerLost):
            await driver.exchange(Q, owner, want=1)

    producers = [produce(drivers[n], n * total // 4) for n in range(4)]
    workers = [work(drivers[n % CLIENTS], n) for n in range(12)]
    async with asyncio.timeout(90):
        await asyncio.gather(*producers, *workers)
    assert done == Counter(names(total))
    stats = (await drivers[0].stats([Q]))[Q]
    assert (stats.size, stats.reserved, stats.failed) == (0, 0, 0)


async def test_a_job_is_cancelled_or_runs(make_driver: MakeDriver) -> None:
    one, two = await clients(make_driver, 2)
    await push(one, *names(200))
    ran: list[str] = []
    cancelled: list[str] = []

    async def run() -> None:
        while jobs := await reserve(one, 3):
            ran.extend(ids(jobs))

    async def cancel() -> None:
        for name in reversed(names(200)):
            cancelled.extend([name] if await two.cancel(Q, name) is State.READY else [])

    await asyncio.gather(run(), cancel())
    assert sorted(ran + cancelled) == names(200)
    assert (await one.stats([Q]))[Q].reserved == len(ran)


async def test_a_purge_and_a_reserve_share_out_the_jobs(make_driver: MakeDriver) -> None:
    one, two = await clients(make_driver, 2)
    await push(one, *names(500))
    ran: list[str] = []

    async def run() -> None:
        while jobs := await reserve(one, 7):
            ran.extend(ids(jobs))

    _, purged = await asyncio.gather(run(), two.purge(Q))
    assert len(ran) + purged == 500
    assert await size(one) == 0


async def test_a_worker_and_a_janitor_settle_a_job_once(make_driver: MakeDriver) -> None:
    """The worker acknowledges while its owner is retired and its jobs are handed back."""
    one, two = await clients(make_driver, 2)
    await push(one, *names(100))
    held = await reserve(one, 100)

    async def finish() -> list[str]:
        return [job.id for job in held if not await settle(one, ack(job))]

    async def reclaim() -> list[str]:
        returned = await two.retire(Q, ME)
        return [job.id for job in returned if not await settle(two, release(job))]

    acked, released = await asyncio.gather(finish(), reclaim())
    assert sorted(acked + released) == names(100)
    assert sorted(ids(await reserve(one, 100, owner=OTHER))) == sorted(released)


async def test_a_reserve_beside_its_owners_retirement_strands_nothing(
    make_driver: MakeDriver,
) -> None:
    """Either it came first, and retire returns what it got; or it is refused, and got nothing."""
    one, two = await clients(make_driver, 2)
    await push(one, *names(100))
    for number in range(40):
        owner = f"worker-{number}"
        answer, returned = await asyncio.gather(
            one.exchange(Q, owner, want=2, nonce=1), two.retire(Q, owner), return_exceptions=True
        )
        got = [] if isinstance(answer, OwnerLost) else answer.jobs
        assert returned == got
        assert await settle(two, *map(release, got), owner=owner) == []
    assert ids(await reserve(one, 100)) == names(100)


async def test_of_two_operators_one_requeues(make_driver: MakeDriver) -> None:
    one, two = await clients(make_driver, 2)
    await push(one, *names(50))
    await settle(one, *map(fail, await reserve(one, 50)))
    first, second, third = await asyncio.gather(
        one.requeue(Q, names(50)), two.requeue(Q, names(50)), two.forget(Q, names(50))
    )
    assert [sum(each) for each in zip(first, second, third, strict=True)] == [1] * 50
    assert await size(one) == sum(first) + sum(second)
    assert await one.failed(Q) == []


async def test_a_repeated_exchange_at_the_same_time_reserves_once(make_driver: MakeDriver) -> None:
    """A resend may overtake the first copy, or run beside it: one batch all the same."""
    one, two = await clients(make_driver, 2)
    await push(one, *names(200))
    for nonce in range(1, 30):
        first, second = await asyncio.gather(
            one.exchange(Q, ME, want=3, nonce=nonce), two.exchange(Q, ME, want=3, nonce=nonce)
        )
        assert first.jobs == second.jobs
    assert await size(one) == 200 - 29 * 3
