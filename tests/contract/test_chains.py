"""Chains: the verb that ends a link enqueues what follows, in its queue or by way of the outbox."""

from __future__ import annotations

import asyncio

import pytest

from queued.daemon.monitor.unserved import unserved
from queued.drivers.base import Driver, NewJob, State
from queued.drivers.sequel import Parcel, Sequel
from tests.contract.chains import HOME, OTHER_Q, chained, job
from tests.contract.conftest import MakeDriver
from tests.contract.steps import (
    ME,
    OTHER,
    Q,
    ack,
    drain,
    fail,
    ids,
    info,
    look,
    names,
    push,
    release,
    reserve,
    reserve_when_ready,
    retry,
    settle,
    size,
)

UUIDS = ("0198c0de-0000-7000-8000-000000000001", "0198c0de-0000-7000-8000-000000000002")


async def post(driver: Driver, parcel: Parcel) -> None:
    assert await driver.enqueue(parcel.queue, [parcel.job]) == [True]


async def outbox(driver: Driver, queue: str = Q) -> int:
    return (await driver.stats([queue]))[queue].outbox


async def test_the_next_link_is_ready_once_the_link_before_is_done(driver: Driver) -> None:
    await post(driver, chained((Q, "a"), (Q, "b"), (Q, "c")))
    for name in ("a", "b", "c"):
        [held] = await reserve(driver, 10)
        assert (held.id, held.payload) == (name, name.encode())
        assert await reserve(driver, 10) == []
        assert await settle(driver, ack(held)) == []
    assert await size(driver) == 0
    assert (await driver.stats([Q]))[Q].enqueued_total == 3


async def test_links_go_to_the_tail_and_one_exchange_acks_and_reserves_the_next(
    driver: Driver,
) -> None:
    await post(driver, chained((Q, UUIDS[0]), (Q, UUIDS[1])))
    await push(driver, "other")
    [held] = await reserve(driver, 1)
    answer = await driver.exchange(Q, ME, [ack(held)], want=10, nonce=10**6)
    assert ids(answer.jobs) == ["other", UUIDS[1]]


@pytest.mark.parametrize("name", [*UUIDS, "x" * 15, "x" * 16, UUIDS[0].upper(), "a-b-c"])
async def test_ids_of_every_kind_follow(driver: Driver, name: str) -> None:
    await post(driver, chained((Q, "first"), (Q, name)))
    assert await drain(driver) == ["first", name]
    await post(driver, chained((Q, "first"), (OTHER_Q, name)))
    assert await drain(driver) == ["first"]
    await driver.forward(Q)
    assert await driver.enqueue(OTHER_Q, [NewJob(name, b"")]) == [False]
    assert await drain(driver, queue=OTHER_Q) == [name]


async def test_a_link_may_wait_for_its_time(driver: Driver) -> None:
    for first, then, delay in (("a", "in-an-hour", 3600.0), ("b", "soon", 0.05)):
        sequel = Sequel(then=job(then, delay=delay).packed()).packed()
        await post(driver, Parcel(Q, NewJob(first, b"", sequel=sequel)))
    held = await reserve(driver, 2)
    await settle(driver, *map(ack, held))
    assert (await info(driver, "in-an-hour")).state is State.SCHEDULED
    assert ids(await reserve_when_ready(driver)) == ["soon"]


async def test_a_link_of_another_queue_is_forwarded(driver: Driver) -> None:
    await post(driver, chained((Q, "a"), (OTHER_Q, "b"), (Q, "c")))
    [held] = await reserve(driver)
    await settle(driver, ack(held))
    await driver.forward(Q)
    assert await outbox(driver) == 0
    [held] = await reserve(driver, queue=OTHER_Q)
    assert (held.id, held.payload) == ("b", b"b")
    await settle(driver, ack(held), queue=OTHER_Q)
    await driver.forward(OTHER_Q)
    assert await drain(driver) == ["c"]
    assert await driver.queues() == sorted([Q, OTHER_Q])


async def test_the_outbox_of_a_queue_that_nobody_serves_any_more_is_emptied(driver: Driver) -> None:
    """Its last worker died before it forwarded; other queues' daemons look around."""
    await post(driver, chained((Q, "a"), (OTHER_Q, "b")))
    assert await drain(driver) == ["a"]
    await driver.retire(Q, ME)
    assert await unserved(driver, [OTHER_Q]) == {}
    assert await drain(driver, queue=OTHER_Q) == ["b"]


async def test_what_is_forwarded_again_and_again_arrives_once(driver: Driver) -> None:
    for number in range(3):
        await post(driver, chained((Q, f"a{number}"), (OTHER_Q, f"b{number}")))
    assert len(await drain(driver)) == 3
    assert await driver.forward(Q) + await driver.forward(Q) <= 3
    assert await drain(driver, queue=OTHER_Q) == ["b0", "b1", "b2"]
    assert await driver.forward(Q) == 0
    assert await size(driver, OTHER_Q) == 0


async def test_those_who_forward_at_once_bring_each_link_once(make_driver: MakeDriver) -> None:
    first, second = await make_driver(), await make_driver()
    links = names(120)
    for name in links:
        await post(first, chained((Q, f"{name}.1"), (OTHER_Q, name), (HOME, f"{name}.3")))
    for queue, done in ((Q, [f"{name}.1" for name in links]), (OTHER_Q, links)):
        forwarding = [driver.forward(queue) for driver in (first, second, first, second)]
        assert sorted(await drain(first, queue=queue)) == done
        await asyncio.gather(*forwarding)
    stats = await first.stats([Q, OTHER_Q, HOME])
    assert {one.enqueued_total for one in stats.values()} == {len(links)}
    assert {one.outbox for one in stats.values()} == {0}
    assert sorted(await drain(second, queue=HOME)) == [f"{name}.3" for name in links]


async def test_an_exchange_tells_whether_there_is_something_to_forward(
    driver: Driver,
) -> None:
    assert not (await look(driver)).outbox
    await post(driver, chained((Q, "a"), (OTHER_Q, "b")))
    [held] = await reserve(driver)
    answer = await driver.exchange(Q, ME, [ack(held)])
    assert answer.outbox == (await outbox(driver) == 1) == (driver.name != "memory")
    await driver.forward(Q)
    assert not (await look(driver)).outbox


async def test_a_link_that_fails_ends_the_chain_and_calls_its_catch(driver: Driver) -> None:
    await post(driver, chained((Q, "a"), (Q, "b"), catch=job("oops")))
    [held] = await reserve(driver)
    await settle(driver, fail(held))
    assert await drain(driver) == ["oops"]


async def test_the_catch_may_be_in_another_queue(driver: Driver) -> None:
    await post(driver, chained((Q, "a"), (Q, "b"), catch=job("oops", OTHER_Q)))
    [held] = await reserve(driver)
    await settle(driver, fail(held))
    await driver.forward(Q)
    assert await size(driver) == 0
    assert await drain(driver, queue=OTHER_Q) == ["oops"]


async def test_a_failed_link_that_is_requeued_continues_its_chain(driver: Driver) -> None:
    await post(driver, chained((Q, "a"), (Q, "b")))
    [held] = await reserve(driver)
    await settle(driver, fail(held))
    assert await size(driver) == 0
    assert await driver.requeue(Q, ["a"]) == [True]
    assert await drain(driver) == ["a", "b"]


async def test_a_link_that_is_retried_or_released_keeps_its_chain(driver: Driver) -> None:
    await post(driver, chained((Q, "a"), (Q, "b")))
    [held] = await reserve(driver)
    await settle(driver, retry(held))
    [held] = await reserve(driver)
    await settle(driver, release(held))
    assert await drain(driver) == ["a", "b"]


async def test_a_link_settled_for_a_dead_owner_continues_its_chain(driver: Driver) -> None:
    await post(driver, chained((Q, "a"), (Q, "b")))
    await reserve(driver)
    [held] = await driver.retire(Q, ME)
    await settle(driver, ack(held))
    assert await drain(driver, owner=OTHER) == ["b"]


async def test_a_stale_ack_or_a_repeated_one_continues_nothing(driver: Driver) -> None:
    await post(driver, chained((Q, "a"), (Q, "b")))
    [stale] = await reserve(driver)
    await settle(driver, release(stale))
    [held] = await reserve(driver)
    assert await settle(driver, ack(stale)) == ["a"]
    assert await size(driver) == 0
    assert await settle(driver, ack(held), ack(held)) == ["a"]
    assert await settle(driver, ack(held)) == ["a"]
    assert await drain(driver) == ["b"]
    assert (await driver.stats([Q]))[Q].enqueued_total == 2


async def test_a_link_that_is_cancelled_purged_or_forgotten_ends_the_chain(
    driver: Driver,
) -> None:
    await post(driver, chained((Q, "a"), (Q, "b"), catch=job("oops")))
    assert await driver.cancel(Q, "a") is State.READY
    await post(driver, chained((Q, "a"), (Q, "b"), catch=job("oops")))
    assert await driver.purge(Q) == 1
    assert await size(driver) == 0
    await post(driver, chained((Q, "a"), (Q, "b")))
    [held] = await reserve(driver)
    await settle(driver, fail(held))
    assert await driver.forget(Q, ["a"]) == [True]
    await push(driver, "a")  # nothing is left of the chain
    assert await drain(driver) == ["a"]


async def test_a_chain_that_is_dispatched_again_is_the_same_chain(driver: Driver) -> None:
    first = chained((Q, "a"), (Q, "b"))
    await post(driver, first)
    assert await driver.enqueue(Q, [first.job]) == [False]
    await push(driver, "b")  # the next link is there already, however it came
    assert await drain(driver, want=1) == ["a", "b"]
    assert (await driver.stats([Q]))[Q].enqueued_total == 2


async def test_jobs_with_and_without_a_sequel_are_enqueued_together(driver: Driver) -> None:
    first = chained((Q, "a"), (Q, "b")).job
    jobs = [NewJob("x", b"x"), first, NewJob("y", b"y", 3600.0), NewJob("x", b"again")]
    assert await driver.enqueue(Q, jobs) == [True, True, True, False]
    assert (await info(driver, "y")).state is State.SCHEDULED
    assert await drain(driver) == ["x", "a", "b"]


async def test_looking_a_job_up_shows_its_sequel(driver: Driver) -> None:
    first = chained((Q, "a"), (OTHER_Q, "b"))
    await post(driver, first)
    await push(driver, "plain")
    assert (await info(driver, "a")).sequel == first.job.sequel
    assert (await info(driver, "plain")).sequel == b""
    [held, _] = await reserve(driver, 2)
    assert (await info(driver, "a")).sequel == first.job.sequel
    await settle(driver, fail(held))
    assert (await info(driver, "a")).sequel == first.job.sequel


async def test_a_push_by_forwarding_wakes_a_worker(make_driver: MakeDriver) -> None:
    worker, driver = await make_driver(), await make_driver()
    await post(driver, chained((Q, "a"), (OTHER_Q, "b")))
    assert await drain(driver) == ["a"]
    await driver.forward(Q)
    answer = await worker.listen(OTHER_Q, ME, seconds=10, want=1, nonce=1)
    assert ids(answer.jobs) == ["b"]
