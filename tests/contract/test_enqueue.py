"""enqueue: → ready, scheduled; idempotent while the id exists; a batch is one step."""

from __future__ import annotations

import asyncio

from queued.drivers.base import MAX_BATCH, Driver, NewJob, QueueStats, State
from tests.contract.conftest import MakeDriver
from tests.contract.steps import (
    OTHER,
    Q,
    ack,
    drain,
    fail,
    hold,
    info,
    names,
    push,
    reserve,
    reserve_when_ready,
    settle,
    size,
)


async def test_a_job_without_delay_is_ready(driver: Driver) -> None:
    assert await driver.enqueue(Q, [NewJob("a", b"payload")]) == [True]
    found = await info(driver, "a")
    assert (found.state, found.payload, found.queue) == (State.READY, b"payload", Q)
    assert found.counts == (0, 0, 0, 0, 0, 0)
    assert found.history == b""
    assert found.ready_at is not None
    assert found.owner is None


async def test_a_job_with_a_delay_is_scheduled(driver: Driver) -> None:
    assert await driver.enqueue(Q, [NewJob("a", b"payload", 60.0)]) == [True]
    found = await info(driver, "a")
    assert found.state is State.SCHEDULED
    assert found.due_at is not None
    assert 50 < found.due_at - found.enqueued_at < 70
    assert await reserve(driver) == []


async def test_a_batch_may_mix_delays(driver: Driver) -> None:
    batch = [
        NewJob("later", b"", 60),
        NewJob("a", b""),
        NewJob("soon", b"", 0.05),
        NewJob("b", b""),
    ]
    assert await driver.enqueue(Q, batch) == [True] * 4
    assert [job.id for job in await reserve(driver, 4)][:2] == ["a", "b"]
    stats = (await driver.stats([Q]))[Q]
    assert stats.size + stats.reserved == 4
    assert (await info(driver, "later")).state is State.SCHEDULED


async def test_nothing_is_a_batch_too(driver: Driver) -> None:
    assert await driver.enqueue(Q, []) == []
    assert await size(driver) == 0


async def test_a_full_batch_keeps_its_order(driver: Driver) -> None:
    wanted = names(MAX_BATCH)
    await push(driver, *wanted)
    assert await size(driver) == MAX_BATCH
    assert await drain(driver, want=MAX_BATCH) == wanted


async def test_a_full_batch_of_scheduled_jobs(driver: Driver) -> None:
    await push(driver, *names(MAX_BATCH), delay=60)
    assert (await driver.stats([Q]))[Q].scheduled == MAX_BATCH


async def test_an_id_exists_once_within_a_batch(driver: Driver) -> None:
    batch = [NewJob("a", b"first"), NewJob("a", b"second"), NewJob("b", b"")]
    assert await driver.enqueue(Q, batch) == [True, False, True]
    assert [job.payload for job in await reserve(driver, 5)] == [b"first", b""]


async def test_an_id_that_is_ready_is_not_enqueued_again(driver: Driver) -> None:
    await push(driver, "a", "b")
    assert await driver.enqueue(Q, [NewJob("a", b"new"), NewJob("c", b"")]) == [False, True]
    assert (await info(driver, "a")).payload == b"a"
    assert await drain(driver) == ["a", "b", "c"]


async def test_an_id_that_is_scheduled_is_not_enqueued_again(driver: Driver) -> None:
    await push(driver, "a", delay=60)
    assert await driver.enqueue(Q, [NewJob("a", b"new")]) == [False]
    assert await reserve(driver) == []
    assert (await driver.stats([Q]))[Q] == QueueStats(scheduled=1, enqueued_total=1)


async def test_an_id_that_is_reserved_is_not_enqueued_again(driver: Driver) -> None:
    held = await hold(driver, "a")
    assert await driver.enqueue(Q, [NewJob("a", b"new", 0.01)]) == [False]
    assert await reserve(driver, owner=OTHER) == []
    assert await settle(driver, ack(held)) == []


async def test_an_id_that_failed_is_not_enqueued_again(driver: Driver) -> None:
    await settle(driver, fail(await hold(driver, "a")))
    assert await driver.enqueue(Q, [NewJob("a", b"new")]) == [False]
    assert await reserve(driver) == []
    assert (await driver.failed(Q))[0].payload == b"a"


async def test_an_id_may_return_once_its_job_is_done(driver: Driver) -> None:
    first = await hold(driver, "a")
    await settle(driver, ack(first))
    assert await driver.find("a") is None
    assert await driver.enqueue(Q, [NewJob("a", b"new")]) == [True]
    [second] = await reserve(driver)
    assert second.payload == b"new"
    assert second.fence > first.fence
    assert await settle(driver, ack(first)) == ["a"]
    assert await settle(driver, ack(second)) == []


async def test_an_id_belongs_to_its_queue(driver: Driver) -> None:
    await push(driver, "a", queue="one")
    await push(driver, "a", queue="two")
    assert await size(driver, "one") == await size(driver, "two") == 1


async def test_a_small_delay_passes_by_itself(driver: Driver) -> None:
    await push(driver, "a", delay=0.05)
    [held] = await reserve_when_ready(driver)
    assert held.id == "a"
    assert held.ready_at - held.enqueued_at >= 0.049
    assert held.reserved_at >= held.ready_at - 0.001


async def test_a_batch_is_seen_whole_or_not_at_all(make_driver: MakeDriver) -> None:
    writer, reader = await make_driver(), await make_driver()
    writing = asyncio.ensure_future(push(writer, *names(MAX_BATCH)))
    seen = set()
    while not writing.done():
        seen.add(await size(reader))
        await asyncio.sleep(0)
    await writing
    seen.add(await size(reader))
    assert seen <= {0, MAX_BATCH}
    assert MAX_BATCH in seen


async def test_of_two_that_push_one_id_at_once_one_wins(make_driver: MakeDriver) -> None:
    clients = [await make_driver() for _ in range(4)]
    for name in names(20):
        pushes = [client.enqueue(Q, [NewJob(name, b"")]) for client in clients]
        answers = await asyncio.gather(*pushes)
        assert sorted(answers) == [[False], [False], [False], [True]]
    assert await drain(clients[0]) == names(20)
