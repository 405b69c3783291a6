"""pause and resume: nothing is reserved meanwhile, all other verbs go on, nothing is lost."""

from __future__ import annotations

import asyncio
import math

import pytest

from queued.drivers.base import Charge, Driver, Lane, QueueStats, State
from tests.contract.conftest import MakeDriver
from tests.contract.steps import (
    ME,
    OTHER,
    WITHIN,
    Q,
    ack,
    drain,
    fail,
    failed_job,
    hold,
    ids,
    listen,
    look,
    names,
    push,
    release,
    reserve,
    retry,
    settle,
    until,
)
from tests.contract.test_waking import LONG, THIRD, quiet, waiter, wakes  # noqa: F401 - a fixture


async def stats(driver: Driver) -> QueueStats:
    return (await driver.stats([Q]))[Q]


async def test_nothing_is_reserved_until_resume(driver: Driver) -> None:
    await push(driver, *names(3))
    assert await driver.pause(Q)
    assert await reserve(driver, 3) == []
    assert await listen(driver, 0.01, 3) == []
    assert await driver.resume(Q)
    assert await drain(driver) == names(3)


async def test_every_client_sees_it(driver: Driver, make_driver: MakeDriver) -> None:
    await push(driver, "a")
    other = await make_driver()
    assert await other.pause(Q)
    assert await reserve(driver) == []
    assert await driver.resume(Q)
    assert ids(await reserve(other)) == ["a"]


async def test_it_concerns_its_queue(driver: Driver) -> None:
    await push(driver, "a", queue="other")
    await driver.pause(Q)
    assert ids(await reserve(driver, queue="other")) == ["a"]


async def test_stats_say_since_when_and_why(driver: Driver) -> None:
    await push(driver, "a")
    [held] = await reserve(driver)
    assert (await stats(driver)).paused is None
    assert await driver.pause(Q, "ada@host", "the mail server is down: é")
    paused = (await stats(driver)).paused
    assert paused is not None
    assert (paused.by, paused.reason) == ("ada@host", "the mail server is down: é")
    assert held.reserved_at - 0.001 <= paused.since < held.reserved_at + 60
    await driver.resume(Q)
    assert (await stats(driver)).paused is None


async def test_to_pause_again_replaces_the_reason_and_keeps_since(driver: Driver) -> None:
    assert await driver.pause(Q, "ada", "one")
    before = (await stats(driver)).paused
    await asyncio.sleep(0.01)
    assert not await driver.pause(Q, "bob", "two")
    after = (await stats(driver)).paused
    assert before is not None
    assert after is not None
    assert (after.since, after.by, after.reason) == (before.since, "bob", "two")


async def test_resume_of_what_is_not_paused(driver: Driver) -> None:
    assert not await driver.resume(Q)
    await push(driver, "a")
    assert not await driver.resume(Q)
    assert ids(await reserve(driver)) == ["a"]


async def test_a_queue_without_jobs_can_be_paused(driver: Driver) -> None:
    """It is no queue that had a job for that."""
    assert await driver.pause(Q)
    assert await driver.queues() == []
    await push(driver, "a")
    assert await reserve(driver) == []
    await driver.resume(Q)
    assert await drain(driver) == ["a"]


async def test_all_other_verbs_go_on(driver: Driver) -> None:
    await failed_job(driver, "failed")
    await push(driver, *names(5))
    held = await reserve(driver, 5)
    await driver.pause(Q)
    done, retried, released, failing, lost = held
    settled = (ack(done), retry(retried), release(released), fail(failing))
    assert await settle(driver, *settled) == []
    assert ids(await driver.retire(Q, ME)) == [lost.id]
    assert await settle(driver, release(lost, Charge.NONE)) == []
    assert await driver.requeue(Q, ["failed"]) == [True]
    assert await driver.cancel(Q, released.id) is State.READY
    await push(driver, "new")
    assert await reserve(driver, 10, owner=OTHER) == []
    await driver.resume(Q)
    assert await drain(driver, owner=OTHER) == [lost.id, retried.id, "failed", "new"]


async def test_what_falls_due_waits_too(driver: Driver) -> None:
    await push(driver, "a", delay=0.05)
    await driver.pause(Q)
    answer = await driver.exchange(Q, ME, want=1, nonce=1)
    assert (answer.jobs, answer.held_for) == ([], math.inf)
    assert answer.next_due is not None
    await until(lambda: driver.promote(Q))
    assert await reserve(driver) == []
    assert (await stats(driver)).ready == 1
    await driver.resume(Q)
    assert await drain(driver) == ["a"]


async def test_suspects_wait_too(driver: Driver) -> None:
    held = await hold(driver, "a")
    await settle(driver, release(held, Charge.CRASH))
    assert (await look(driver)).suspects
    await driver.pause(Q)
    answer = await look(driver)
    assert (answer.suspects, answer.held_for) == (False, math.inf)
    assert await reserve(driver, lane=Lane.SOLO) == []
    await driver.resume(Q)
    answer = await look(driver)
    assert (answer.suspects, answer.held_for) == (True, None)
    assert ids(await reserve(driver, lane=Lane.SOLO)) == ["a"]


async def test_hooks_of_what_failed_go_on(driver: Driver) -> None:
    """They belong to runs that have ended."""
    await failed_job(driver, "a", hook=0.0)
    await driver.pause(Q)
    assert (await look(driver)).hooks_due
    assert [job.id for job in await driver.claim_hooks(Q, 1, 60)] == ["a"]


async def test_a_batch_whose_answer_was_lost_is_still_given(driver: Driver) -> None:
    """It was reserved before the pause."""
    await push(driver, *names(3))
    first = await driver.exchange(Q, ME, want=2, nonce=7)
    await driver.pause(Q)
    again = await driver.exchange(Q, ME, want=2, nonce=7)
    assert ids(again.jobs) == ids(first.jobs) == names(3)[:2]
    assert (await driver.exchange(Q, ME, want=2, nonce=8)).jobs == []


async def test_pushes_wake_nobody(driver: Driver, waiter: Driver) -> None:  # noqa: F811
    held = await hold(driver, "held")
    await driver.pause(Q)
    await quiet(waiter)
    waiting = asyncio.ensure_future(listen(waiter, LONG, owner=THIRD))
    await asyncio.sleep(0.05)
    for name in names(5):
        await push(driver, name)
    await settle(driver, retry(held))
    await push(driver, "due", delay=0.02)
    await until(lambda: driver.promote(Q))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    waiting.cancel()
    await asyncio.wait([waiting])


async def test_resume_wakes(driver: Driver, waiter: Driver) -> None:  # noqa: F811
    await driver.pause(Q)
    await push(driver, "a")
    await wakes(waiter, lambda: driver.resume(Q))


async def test_resume_wakes_as_many_as_there_is_work_for(
    driver: Driver, make_driver: MakeDriver
) -> None:
    await driver.pause(Q)
    await push(driver, *names(10))
    one, two = await make_driver(), await make_driver()
    await quiet(one)
    await quiet(two)
    both = (one, ME), (two, OTHER)
    waits = [asyncio.ensure_future(listen(client, LONG, owner=owner)) for client, owner in both]
    await asyncio.sleep(0.05)
    await driver.resume(Q)
    async with asyncio.timeout(WITHIN):
        assert all(await asyncio.gather(*waits))


async def test_nothing_is_reserved_once_pause_has_returned(
    driver: Driver, make_driver: MakeDriver
) -> None:
    """However many reserve at the same time."""
    await push(driver, *names(500))
    reserved: list[float] = []
    begun = asyncio.Event()

    async def work(client: Driver, owner: str) -> None:
        while (await stats(driver)).paused is None or not begun.is_set():
            jobs = await reserve(client, 3, owner=owner)
            reserved.extend(job.reserved_at for job in jobs)
            begun.set()
            await settle(client, *map(ack, jobs), owner=owner)
            await asyncio.sleep(0)  # the memory driver never waits

    clients = [await make_driver() for _ in range(3)]
    workers = [asyncio.ensure_future(work(c, f"w-{n}")) for n, c in enumerate(clients)]
    async with asyncio.timeout(60):
        await begun.wait()
    await driver.pause(Q)
    paused = (await stats(driver)).paused
    assert paused is not None
    left = (await stats(driver)).ready
    await asyncio.gather(*workers)
    assert max(reserved) <= paused.since
    assert (await stats(driver)).ready == left > 0
    await driver.resume(Q)
    assert len(reserved) + len(await drain(driver)) == 500


@pytest.mark.parametrize("verb", ["purge", "cancel"])
async def test_what_waits_can_be_removed(driver: Driver, verb: str) -> None:
    await push(driver, "a")
    await driver.pause(Q)
    if verb == "purge":
        assert await driver.purge(Q) == 1
    else:
        assert await driver.cancel(Q, "a") is State.READY
    assert (await stats(driver)).size == 0
