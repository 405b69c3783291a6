"""listen: an idle worker gets work as soon as there is some; nothing depends on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from queued.drivers.base import Charge, Driver
from queued.errors import OwnerLost
from tests.contract.conftest import MakeDriver
from tests.contract.steps import (
    ME,
    OTHER,
    WITHIN,
    Q,
    ack,
    drain,
    failed_job,
    hold,
    ids,
    listen,
    names,
    push,
    release,
    reserve,
    retry,
    settle,
    until,
)

LONG = 60.0
"""Longer than any test may take: who returns from such a wait was woken."""
THIRD = "1a2b3c4d-5e6f7a8b-emails.3-1"


@pytest.fixture
async def waiter(make_driver: MakeDriver) -> Driver:
    """Another worker's client; ``THIRD`` listens through it."""
    return await make_driver()


async def quiet(driver: Driver, queue: str = Q) -> None:
    """Use up wake-ups that are left over: only what comes from now on ends a wait."""
    loop = asyncio.get_running_loop()
    while True:
        begun = loop.time()
        assert await listen(driver, 0.05, owner=THIRD, queue=queue) == []
        if loop.time() - begun >= 0.05:
            return


async def wakes(waiter: Driver, act: Callable[[], Awaitable[object]], queue: str = Q) -> None:
    """Assert that ``act`` ends a wait that began before it, with the job in the answer.

    Two wake-ups may be needed: one may come before what it tells of, or of what was before.
    """

    async def work() -> None:
        while not await listen(waiter, LONG, owner=THIRD, queue=queue):
            pass

    waiting = asyncio.ensure_future(work())
    await asyncio.sleep(0.05)  # most likely it waits by now; if it does not, the wake-up is kept
    await act()
    async with asyncio.timeout(WITHIN):
        await waiting


async def test_no_time_returns_at_once(driver: Driver) -> None:
    async with asyncio.timeout(WITHIN):
        assert await listen(driver, 0) == []
        assert await listen(driver, 0, queue="never-seen") == []


async def test_a_wait_ends_by_itself(driver: Driver) -> None:
    await quiet(driver)
    assert await listen(driver, 0.01) == []


async def test_what_is_ready_is_reserved_however_the_wait_ends(driver: Driver) -> None:
    await push(driver, *names(3))
    assert ids(await listen(driver, 0.05, 2)) == names(3)[:2]
    assert ids(await listen(driver, 0.05, 2)) == names(3)[2:]
    assert await listen(driver, 0.05, 2) == []


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
        while not await listen(waiter, LONG):
            pass


async def test_a_client_wakes_itself(driver: Driver) -> None:
    await wakes(driver, lambda: push(driver, "a"))


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

    async def promoted() -> bool:
        await driver.promote(Q)
        return (await driver.stats([Q]))[Q].scheduled == 0

    await wakes(waiter, lambda: until(promoted))


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
    await listen(waiter, 0.05)
    async with asyncio.timeout(WITHIN):
        while not await listen(waiter, LONG, queue="other"):
            pass


async def test_a_cancelled_wait_leaves_the_client_usable(driver: Driver, waiter: Driver) -> None:
    for number in range(5):
        waiting = asyncio.ensure_future(listen(waiter, LONG))
        await asyncio.sleep(0.01 * number)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert await waiter.exchange(Q, ME, want=1, nonce=10**6)
    await wakes(waiter, lambda: push(driver, "a"))


@pytest.mark.parametrize("turns", range(0, 30, 3))
async def test_a_wait_that_was_given_up_is_repeated_by_its_nonce(
    driver: Driver, waiter: Driver, turns: int
) -> None:
    """Whenever that is, it has reserved what the exchange returns, and takes no more."""
    done: list[str] = []
    for nonce, name in enumerate(names(10), 1):
        waiting = asyncio.ensure_future(waiter.listen(Q, ME, seconds=LONG, want=1, nonce=nonce))
        for _ in range(turns % 10):
            await asyncio.sleep(0)
        pushing = asyncio.ensure_future(push(driver, name))
        for _ in range(turns):
            await asyncio.sleep(0)
        waiting.cancel()
        jobs = (await waiter.exchange(Q, ME, want=1, nonce=nonce)).jobs
        await asyncio.gather(waiting, pushing, return_exceptions=True)
        done += ids(jobs)
        assert await settle(waiter, *map(ack, jobs)) == []
    assert (await driver.stats([Q]))[Q].reserved == 0
    assert done + await drain(driver, owner=OTHER) == names(10)


async def test_cancelling_while_pushes_come_loses_no_job(driver: Driver, waiter: Driver) -> None:
    got: list[str] = []
    for nonce, name in enumerate(names(30), 1):
        waiting = asyncio.ensure_future(waiter.listen(Q, ME, seconds=LONG, want=1, nonce=nonce))
        await asyncio.sleep(0)
        pushing = asyncio.ensure_future(push(driver, name))
        await asyncio.sleep(0.001)
        waiting.cancel()
        await asyncio.gather(waiting, pushing, return_exceptions=True)
        got += ids((await waiter.exchange(Q, ME, want=1, nonce=nonce)).jobs)
    assert got == names(30)
    await wakes(waiter, lambda: push(driver, "a"))


async def test_a_retired_owner_gets_nothing_and_passes_the_news_on(
    driver: Driver, waiter: Driver
) -> None:
    """It is lost, say, and the server does not know yet that nobody reads what it answers."""
    lost = asyncio.ensure_future(driver.listen(Q, ME, seconds=LONG, want=1, nonce=1))
    await asyncio.sleep(0.05)
    await waiter.retire(Q, ME)
    await wakes(waiter, lambda: push(waiter, "a"))
    lost.cancel()
    await asyncio.wait([lost])
    with pytest.raises(OwnerLost):
        await driver.listen(Q, ME, seconds=0, want=1, nonce=2)


async def test_other_verbs_go_on_during_a_wait(driver: Driver) -> None:
    """A worker listens and settles over one client."""
    held = await hold(driver, "a")
    await quiet(driver)
    waiting = asyncio.ensure_future(listen(driver, LONG))
    await asyncio.sleep(0.02)
    async with asyncio.timeout(WITHIN):
        assert await settle(driver, ack(held)) == []
        assert await driver.renew(Q, [ME], 30) == []
        await push(driver, "b")
        assert ids(await waiting or await listen(driver, LONG)) == ["b"]


async def work(client: Driver, owner: str, done: list[str], total: int) -> int:
    """Run jobs one by one as a worker would, waiting whenever there is none; return how many."""
    mine = 0
    while len(done) < total:
        for job in await listen(client, LONG, owner=owner):
            await settle(client, ack(job), owner=owner)
            done.append(job.id)
            mine += 1
    return mine


async def test_one_bulk_push_wakes_two_workers(driver: Driver, make_driver: MakeDriver) -> None:
    """One token for a thousand jobs: reserve rings again while jobs remain."""
    one, two = await make_driver(), await make_driver()
    await quiet(one)
    await quiet(two)
    both = (one, ME), (two, OTHER)
    waits = [asyncio.ensure_future(listen(client, LONG, owner=owner)) for client, owner in both]
    await asyncio.sleep(0.05)
    await push(driver, *names(50))
    async with asyncio.timeout(WITHIN):
        assert all(await asyncio.gather(*waits))


async def test_no_job_stays_while_workers_wait(driver: Driver, make_driver: MakeDriver) -> None:
    done: list[str] = []
    workers = [
        asyncio.ensure_future(work(await make_driver(), f"w-{number}", done, 100))
        for number in range(4)
    ]
    for start in range(0, 100, 10):
        await push(driver, *names(100)[start : start + 10])
        await asyncio.sleep(0.01)
    async with asyncio.timeout(3 * WITHIN):
        await asyncio.wait(workers, return_when=asyncio.FIRST_COMPLETED)
        await until(lambda: all_done(driver))
    assert sorted(done) == names(100)
    for worker in workers:  # those that still wait: there is nothing more to come
        worker.cancel()
    await asyncio.wait(workers)


async def all_done(driver: Driver) -> bool:
    stats = (await driver.stats([Q]))[Q]
    return stats.size == stats.reserved == 0
