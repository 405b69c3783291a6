"""promote: scheduled → ready when due; and what ``next_due`` tells a worker."""

from __future__ import annotations

import asyncio

import pytest

from queued.drivers.base import Driver, NewJob, State
from tests.contract.conftest import MakeDriver
from tests.contract.steps import (
    ME,
    OTHER,
    Q,
    drain,
    hold,
    ids,
    info,
    look,
    names,
    push,
    release,
    reserve,
    retry,
    settle,
    until,
)


async def all_due(driver: Driver, count: int) -> None:
    """Enqueue jobs and wait until the back-end's clock has passed their due times, unpromoted."""
    await push(driver, *names(count), delay=0.05)
    await push(driver, "witness", delay=0.05, queue="witness")
    await until(lambda: driver.promote("witness"))


async def test_promote_moves_what_is_due(driver: Driver) -> None:
    await all_due(driver, 3)
    await push(driver, "later", delay=60)
    assert (await driver.stats([Q]))[Q].scheduled == 4
    assert await driver.promote(Q) == 3
    assert await driver.promote(Q) == 0
    stats = (await driver.stats([Q]))[Q]
    assert (stats.ready, stats.scheduled) == (3, 1)
    assert (await info(driver, "job-0000")).state is State.READY
    assert await drain(driver) == names(3)


async def test_promote_is_bounded(driver: Driver) -> None:
    await all_due(driver, 25)
    assert [await driver.promote(Q, 10) for _ in range(4)] == [10, 10, 5, 0]
    assert await drain(driver) == names(25)


async def test_promote_knows_only_its_queue(driver: Driver) -> None:
    await all_due(driver, 2)
    assert await driver.promote("other") == 0
    assert await driver.promote(Q) == 2


async def test_two_that_promote_at_once_move_each_job_once(make_driver: MakeDriver) -> None:
    """RouteMQ's pollers promoted one job twice."""
    clients = [await make_driver() for _ in range(4)]
    await all_due(clients[0], 200)
    moved = await asyncio.gather(*(client.promote(Q, 100) for client in clients))
    assert sum(moved) == 200
    assert sorted(await drain(clients[1])) == names(200)


async def test_the_due_come_in_the_order_of_their_times(driver: Driver) -> None:
    delays = {"c": 0.06, "a": 0.02, "d": 0.08, "b": 0.04}
    await driver.enqueue(Q, [NewJob(name, b"", delay) for name, delay in delays.items()])
    await push(driver, "witness", delay=0.1, queue="witness")
    await until(lambda: driver.promote("witness"))
    assert await driver.promote(Q) == 4
    assert await drain(driver) == ["a", "b", "c", "d"]


async def test_reserve_alone_is_enough(driver: Driver) -> None:
    """Retries never depend on the monitor: a worker promotes as many as it wants."""
    await all_due(driver, 30)
    assert ids(await reserve(driver, 10)) == names(30)[:10]
    stats = (await driver.stats([Q]))[Q]
    assert stats.size == 20
    assert stats.ready <= 10
    assert await drain(driver) == names(30)[10:]


@pytest.mark.parametrize("delay", [0.0005, 3600.0, 10 * 365 * 86400.0])
async def test_a_delay_of_any_length(driver: Driver, delay: float) -> None:
    await push(driver, "a", delay=delay)
    found = await info(driver, "a")
    assert (found.due_at or found.ready_at) == pytest.approx(found.enqueued_at + delay, abs=0.002)


async def test_next_due(driver: Driver) -> None:
    assert (await look(driver)).next_due is None
    await push(driver, "ready")
    assert (await look(driver)).next_due is None
    await push(driver, "late", delay=1000)
    await push(driver, "early", delay=100)
    answer = await driver.exchange(Q, OTHER, want=2, nonce=1)
    assert ids(answer.jobs) == ["ready"]
    assert answer.next_due is not None
    assert 50 < answer.next_due <= 100
    await driver.cancel(Q, "early")
    next_due = (await look(driver)).next_due
    assert next_due is not None
    assert 500 < next_due <= 1000
    assert (await look(driver, "other")).next_due is None
    await driver.purge(Q)
    assert (await look(driver)).next_due is None


async def test_next_due_tells_of_the_retry_in_the_same_exchange(driver: Driver) -> None:
    held = await hold(driver, "a")
    answer = await driver.exchange(Q, ME, [retry(held, 100)], want=1, nonce=1_000_000)
    assert answer.jobs == []
    assert answer.next_due is not None
    assert 50 < answer.next_due <= 100


async def test_what_is_due_and_not_reserved_yet_needs_no_waiting(driver: Driver) -> None:
    """More is due than was wanted: ready or due now, a worker that looks again finds it at once."""
    await all_due(driver, 5)
    answer = await driver.exchange(Q, ME, want=2, nonce=1)
    assert len(answer.jobs) == 2
    assert answer.next_due is None or answer.next_due <= 0
    assert ids(await reserve(driver, 5)) == names(5)[2:]


async def test_a_promoted_job_that_is_released_stays_ready(driver: Driver) -> None:
    await all_due(driver, 1)
    [held] = await reserve(driver)
    await settle(driver, release(held))
    found = await info(driver, held.id)
    assert (found.state, found.due_at) == (State.READY, None)
