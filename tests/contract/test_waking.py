"""wait and wake: an idle worker hears of work at once; nothing depends on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from queued.drivers.base import Charge, Driver
from tests.contract.conftest import MakeDriver
from tests.contract.steps import (
    ME,
    OTHER,
    WITHIN,
    Q,
    ack,
    failed_job,
    hold,
    names,
    push,
    release,
    reserve,
    retry,
    settle,
    size,
    until,
)

LONG = 60.0
"""Longer than any test may take: who returns from such a wait was woken."""


@pytest.fixture
async def waiter(make_driver: MakeDriver) -> Driver:
    """Another worker's client."""
    return await make_driver()


async def quiet(driver: Driver, queue: str = Q) -> None:
    """Use up wake-ups that are left over: only what comes from now on ends a wait."""
    async with asyncio.timeout(WITHIN):
        while await driver.wait(queue, 0.05):
            pass


async def wakes(waiter: Driver, act: Callable[[], Awaitable[object]], queue: str = Q) -> None:
    """Assert that ``act`` ends a wait that began before it."""
    await quiet(waiter, queue)
    waiting = asyncio.ensure_future(waiter.wait(queue, LONG))
    await asyncio.sleep(0.05)  # most likely it waits by now; if it does not, the wake-up is kept
    await act()
    async with asyncio.timeout(WITHIN):
        assert await waiting


async def test_zero_returns_at_once(driver: Driver) -> None:
    async with asyncio.timeout(WITHIN):
        await driver.wait(Q, 0)
        await driver.wait("never-seen", 0)


async def test_a_wait_ends_by_itself(driver: Driver) -> None:
    await quiet(driver)
    assert not await driver.wait(Q, 0.01)


async def test_a_push_wakes(driver: Driver, waiter: Driver) -> None:
    await wakes(waiter, lambda: push(driver, "a"))


async def test_a_push_wakes_in_a_queue_that_never_had_a_job(driver: Driver, waiter: Driver) -> None:
    await wakes(waiter, lambda: push(driver, "a", queue="new"), queue="new")


async def test_a_push_before_the_wait_counts(driver: Driver, waiter: Driver) -> None:
    """Between an exchange that found nothing and the wait that follows, nothing is missed."""
    assert await reserve(waiter) == []
    await quiet(waiter)
    await push(driver, "a")
    async with asyncio.timeout(WITHIN):
        while not await reserve(waiter):
            await waiter.wait(Q, LONG)


async def test_a_client_wakes_itself(driver: Driver) -> None:
    await wakes(driver, lambda: push(driver, "a"))


async def test_wake_wakes(driver: Driver, waiter: Driver) -> None:
    await wakes(waiter, lambda: driver.wake(Q))


async def test_a_retry_at_once_wakes(driver: Driver, waiter: Driver) -> None:
    held = await hold(driver, "a")
    await wakes(waiter, lambda: settle(driver, retry(held)))


async def test_a_release_wakes(driver: Driver, waiter: Driver) -> None:
    held = await hold(driver, "a")
    await wakes(waiter, lambda: settle(driver, release(held)))


async def test_a_reclaim_wakes(driver: Driver, waiter: Driver) -> None:
    await hold(driver, "a")
    [returned] = await driver.retire(Q, ME)
    await wakes(waiter, lambda: settle(driver, release(returned, Charge.NONE)))


async def test_a_promotion_wakes(driver: Driver, waiter: Driver) -> None:
    await push(driver, "a", delay=0.2)
    await wakes(waiter, lambda: until(lambda: driver.promote(Q)))


async def test_a_requeue_wakes(driver: Driver, waiter: Driver) -> None:
    await failed_job(driver, "a")
    await wakes(waiter, lambda: driver.requeue(Q, ["a"]))


async def test_a_reserve_that_leaves_jobs_wakes_the_next(driver: Driver, waiter: Driver) -> None:
    await push(driver, "a", "b")
    await wakes(waiter, lambda: reserve(driver))


async def test_a_push_concerns_its_queue(driver: Driver, waiter: Driver) -> None:
    """The wake-ups of another queue are never taken away by a wait on this one."""
    await quiet(waiter)
    await quiet(waiter, "other")
    await push(driver, "a", queue="other")
    await waiter.wait(Q, 0.05)
    async with asyncio.timeout(WITHIN):
        assert await waiter.wait("other", LONG)


async def test_a_cancelled_wait_leaves_the_client_usable(driver: Driver, waiter: Driver) -> None:
    for number in range(5):
        waiting = asyncio.ensure_future(waiter.wait(Q, LONG))
        await asyncio.sleep(0.01 * number)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert await waiter.exchange(Q, ME, want=1, nonce=1)
    await wakes(waiter, lambda: push(driver, "a"))
    assert await reserve(waiter)


async def test_cancelling_while_pushes_come_loses_no_job(driver: Driver, waiter: Driver) -> None:
    for name in names(30):
        waiting = asyncio.ensure_future(waiter.wait(Q, LONG))
        await asyncio.sleep(0)
        pushing = asyncio.ensure_future(push(driver, name))
        await asyncio.sleep(0.001)
        waiting.cancel()
        await asyncio.gather(waiting, pushing, return_exceptions=True)
    assert await size(driver) == 30
    assert [job.id for job in await reserve(waiter, 30)] == names(30)
    await wakes(waiter, lambda: push(driver, "a"))


async def test_other_verbs_go_on_during_a_wait(driver: Driver) -> None:
    """A worker waits and settles over one client."""
    held = await hold(driver, "a")
    await quiet(driver)
    waiting = asyncio.ensure_future(driver.wait(Q, LONG))
    await asyncio.sleep(0.02)
    async with asyncio.timeout(WITHIN):
        assert await settle(driver, ack(held)) == []
        assert await driver.renew(Q, [ME], 30) == []
        await push(driver, "b")
        assert await waiting


async def work(client: Driver, owner: str, done: list[str], total: int) -> int:
    """Run jobs one by one as a worker would, waiting whenever there is none; return how many."""
    mine = 0
    while len(done) < total:
        jobs = await reserve(client, owner=owner)
        for job in jobs:
            await settle(client, ack(job), owner=owner)
            done.append(job.id)
            mine += 1
        if not jobs and len(done) < total:
            await client.wait(Q, LONG)
    await client.wake(Q)  # for one that still waits: there is nothing more to come
    return mine


async def test_one_bulk_push_wakes_two_workers(driver: Driver, make_driver: MakeDriver) -> None:
    """One token for a thousand jobs: reserve rings again while jobs remain."""
    one, two = await make_driver(), await make_driver()
    await quiet(one)
    await quiet(two)
    waits = [asyncio.ensure_future(client.wait(Q, LONG)) for client in (one, two)]
    await asyncio.sleep(0.05)
    await push(driver, *names(50))
    async with asyncio.timeout(WITHIN):
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        first = one if waits[0] in done else two
        assert await reserve(first, owner=OTHER)
        assert all(await asyncio.gather(*waits))


async def test_no_job_stays_while_workers_wait(driver: Driver, make_driver: MakeDriver) -> None:
    done: list[str] = []
    owners = [f"w-{number}" for number in range(4)]
    workers = [
        asyncio.ensure_future(work(await make_driver(), owner, done, 100)) for owner in owners
    ]
    for start in range(0, 100, 10):
        await push(driver, *names(100)[start : start + 10])
        await asyncio.sleep(0.01)
    async with asyncio.timeout(3 * WITHIN):
        assert sum(await asyncio.gather(*workers)) == 100
    assert sorted(done) == names(100)
