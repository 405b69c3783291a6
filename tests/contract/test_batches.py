"""Batches: one step makes them, and the end of each member reaches their record once."""

from __future__ import annotations

import pytest

from queued.daemon.monitor.unserved import unserved
from queued.drivers.base import MAX_BATCH, Driver, State
from queued.drivers.sequel import Batch, Member
from queued.drivers.sql import batches
from tests.contract.chains import HOME, OTHER_Q, batch_of, chained, new_batch
from tests.contract.steps import Q, ack, drain, fail, info, names, push, reserve, settle, size

MANY = 2_500


async def progress(driver: Driver, batch: str = "batch-1") -> Batch:
    found = await driver.batch(batch)
    assert found is not None
    return found


async def counts(driver: Driver) -> tuple[int, int, int, int]:
    """Return how many members of the batch are pending, done, failed and cancelled."""
    found = await progress(driver)
    return found.pending, found.done, found.failed, found.cancelled


async def end(driver: Driver, *ended: str, queue: str = Q, failing: bool = False) -> None:
    """Run what is ready in a queue, and forward what comes of it."""
    jobs = await reserve(driver, 100, queue=queue)
    assert [job.id for job in jobs] == [*ended]
    await settle(driver, *(fail(job) if failing else ack(job) for job in jobs), queue=queue)
    await driver.forward(queue)


async def test_then_and_finally_are_sent_when_all_members_are_done(driver: Driver) -> None:
    assert await driver.enqueue_batch(HOME, batch_of((Q, "a"), (OTHER_Q, "b"), (HOME, "c")))
    assert await counts(driver) == (3, 0, 0, 0)
    await end(driver, "a")
    await end(driver, "b", queue=OTHER_Q)
    found = await progress(driver)
    assert (found.total, found.done, found.pending, found.finished) == (3, 2, 1, False)
    [held] = await reserve(driver, 100, queue=HOME)
    await settle(driver, ack(held), queue=HOME)
    found = await progress(driver)
    assert (found.done, found.pending, found.finished, found.queue) == (3, 0, True, HOME)
    assert found.finished_at is not None
    assert found.finished_at >= found.created_at
    assert await drain(driver, queue=HOME) == ["then", "finally"]


async def test_callbacks_may_be_in_other_queues(driver: Driver) -> None:
    await driver.enqueue_batch(HOME, batch_of((Q, "a"), callbacks=OTHER_Q))
    await end(driver, "a")
    assert await drain(driver, queue=OTHER_Q) == ["then", "finally"]


async def test_a_batch_is_dispatched_once(driver: Driver) -> None:
    batch = batch_of((Q, "a"), (HOME, "b"))
    assert await driver.enqueue_batch(HOME, batch)
    assert not await driver.enqueue_batch(HOME, batch)
    await end(driver, "a")
    assert not await driver.enqueue_batch(HOME, batch)  # also when a member has run
    assert await size(driver) == 0
    assert await drain(driver, queue=HOME) == ["b", "then", "finally"]
    assert not await driver.enqueue_batch(HOME, batch)
    assert await size(driver, HOME) == 0


@pytest.mark.parametrize("clean_url", ["sqlite", "postgresql"], indirect=True, scope="session")
async def test_the_id_of_a_batch_that_ended_long_ago_may_be_used_again(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Redis, where the record expires by itself."""
    batch = batch_of((HOME, "a"))
    assert await driver.enqueue_batch(HOME, batch)
    assert await drain(driver, queue=HOME) == ["a", "then", "finally"]
    assert not await driver.enqueue_batch(HOME, batch)
    monkeypatch.setattr(batches, "KEEP_BATCH", -60.0)
    assert await driver.enqueue_batch(HOME, batch)
    assert await drain(driver, queue=HOME) == ["a", "then", "finally"]


async def test_the_members_of_a_home_that_nobody_serves_are_forwarded(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No job of its own was ever there, and its producer died before it forwarded."""

    async def dies(_: str) -> None: ...

    with monkeypatch.context() as producer:
        producer.setattr(driver, "_forward_now", dies, raising=False)
        await driver.enqueue_batch(HOME, batch_of((Q, "a")))
    await unserved(driver, [Q])
    assert await drain(driver) == ["a"]


async def test_the_first_failure_calls_catch_and_the_last_end_finally(driver: Driver) -> None:
    await driver.enqueue_batch(HOME, batch_of((Q, "a"), (Q, "b"), (OTHER_Q, "c")))
    await end(driver, "a", "b", failing=True)
    assert await counts(driver) == (1, 0, 2, 0)
    assert (await progress(driver)).failed_ids == ("a", "b")
    assert await drain(driver, queue=HOME) == ["catch"]
    await end(driver, "c", queue=OTHER_Q)
    assert await drain(driver, queue=HOME) == ["finally"]
    assert await counts(driver) == (0, 1, 2, 0)
    assert (await progress(driver)).finished


async def test_members_that_are_retried_with_success_bring_then(driver: Driver) -> None:
    await driver.enqueue_batch(HOME, batch_of((Q, "a"), (Q, "b")))
    await end(driver, "a", "b", failing=True)
    assert await drain(driver, queue=HOME) == ["catch", "finally"]
    assert await driver.requeue(Q, ["a", "b"]) == [True, True]
    await end(driver, "a", "b")
    assert await counts(driver) == (0, 2, 0, 0)
    assert await drain(driver, queue=HOME) == ["then"]


async def test_a_retried_member_that_fails_again_is_counted_once(driver: Driver) -> None:
    await driver.enqueue_batch(HOME, batch_of((Q, "a"), (OTHER_Q, "b")))
    await end(driver, "a", failing=True)
    await driver.requeue(Q, ["a"])
    await end(driver, "a", failing=True)
    assert await counts(driver) == (1, 0, 1, 0)
    assert await drain(driver, queue=HOME) == ["catch"]


@pytest.mark.parametrize("verb", ["cancel", "purge"])
async def test_members_that_an_operator_removes_do_not_hold_a_batch_up(
    driver: Driver, verb: str
) -> None:
    await driver.enqueue_batch(HOME, batch_of((Q, "a"), (OTHER_Q, "b")))
    if verb == "cancel":
        assert await driver.cancel(Q, "a") is State.READY
    else:
        assert await driver.purge(Q) == 1
    assert await counts(driver) == (1, 0, 0, 1)
    await end(driver, "b", queue=OTHER_Q)
    assert await counts(driver) == (0, 1, 0, 1)
    assert await drain(driver, queue=HOME) == ["finally"]  # not then: not all are done


async def test_a_failed_member_that_is_forgotten_counts_as_cancelled(driver: Driver) -> None:
    await driver.enqueue_batch(HOME, batch_of((Q, "a")))
    await end(driver, "a", failing=True)
    assert await driver.forget(Q, ["a"]) == [True]
    assert await counts(driver) == (0, 0, 0, 1)
    assert await drain(driver, queue=HOME) == ["catch", "finally"]


async def test_the_members_of_the_home_itself_may_be_purged(driver: Driver) -> None:
    await driver.enqueue_batch(HOME, batch_of((HOME, "a"), (HOME, "b")))
    assert await driver.purge(HOME) == 2
    assert await counts(driver) == (0, 0, 0, 2)
    assert await drain(driver, queue=HOME) == ["finally"]
    stats = (await driver.stats([HOME]))[HOME]
    assert (stats.ready, stats.reserved) == (0, 0)


@pytest.mark.parametrize("more", [1, MAX_BATCH])
async def test_what_follows_purged_jobs_is_not_purged_in_place_of_others(
    driver: Driver, more: int
) -> None:
    await push(driver, *names(more), queue=HOME, delay=3600)
    assert await driver.enqueue_batch(HOME, batch_of((HOME, "a"), (HOME, "b")))
    assert await driver.purge(HOME) == more + 2
    assert await size(driver, HOME) == 1
    assert await drain(driver, queue=HOME) == ["finally"]


async def test_what_follows_the_first_of_many_that_are_purged_stays(driver: Driver) -> None:
    assert await driver.enqueue_batch(HOME, batch_of((HOME, "a"), (HOME, "b")))
    for batch in range(2):
        await push(driver, *names(MAX_BATCH, f"batch-{batch}"), queue=HOME)
    assert await driver.purge(HOME) == 2 * MAX_BATCH + 2
    assert await drain(driver, queue=HOME) == ["finally"]


async def test_a_member_whose_id_another_job_has_does_not_hold_a_batch_up(driver: Driver) -> None:
    for queue in (Q, HOME):
        await push(driver, "taken", queue=queue)
    members = [(Q, "taken"), (HOME, "taken")]
    await driver.enqueue_batch(HOME, batch_of(members[0], (Q, "a")))
    await driver.enqueue_batch(HOME, batch_of(members[1], batch="batch-2"))
    await driver.forward(Q)
    assert await counts(driver) == (1, 0, 0, 1)
    assert (await progress(driver, "batch-2")).finished
    await end(driver, "taken", "a")
    assert await counts(driver) == (0, 1, 0, 1)
    assert await drain(driver, queue=HOME) == ["taken", "finally"]


async def test_a_chain_is_one_member(driver: Driver) -> None:
    member = Member(HOME, "batch-1", "a")
    chain = chained((Q, "a"), (OTHER_Q, "b"), (Q, "c"), member=member)
    await driver.enqueue_batch(HOME, new_batch([chain]))
    await end(driver, "a")
    assert await counts(driver) == (1, 0, 0, 0)
    await end(driver, "b", queue=OTHER_Q)
    await end(driver, "c")
    assert await counts(driver) == (0, 1, 0, 0)
    assert await drain(driver, queue=HOME) == ["then", "finally"]


async def test_a_chain_that_breaks_is_a_failed_member_until_it_is_mended(
    driver: Driver,
) -> None:
    member = Member(HOME, "batch-1", "a")
    chain = chained((Q, "a"), (OTHER_Q, "b"), member=member)
    await driver.enqueue_batch(HOME, new_batch([chain]))
    await end(driver, "a")
    await end(driver, "b", queue=OTHER_Q, failing=True)
    assert (await progress(driver)).failed_ids == ("a",)
    assert await drain(driver, queue=HOME) == ["catch", "finally"]
    await driver.requeue(OTHER_Q, ["b"])
    await end(driver, "b", queue=OTHER_Q)
    assert await drain(driver, queue=HOME) == ["then"]


async def test_a_batch_may_have_no_callbacks(driver: Driver) -> None:
    batch = batch_of((Q, "a"))._replace(then=None, catch=None, finally_=None)
    await driver.enqueue_batch(HOME, batch)
    await end(driver, "a", failing=True)
    assert (await progress(driver)).finished
    await driver.requeue(Q, ["a"])
    await end(driver, "a")
    assert await counts(driver) == (0, 1, 0, 0)


async def test_a_batch_of_thousands(driver: Driver) -> None:
    members = names(MANY)
    queues = (Q, OTHER_Q, HOME)
    where = {name: queues[number % 3] for number, name in enumerate(members)}
    await driver.enqueue_batch(HOME, batch_of(*((where[name], name) for name in members)))
    for queue in (Q, OTHER_Q):
        expected = [name for name in members if where[name] == queue]
        assert await drain(driver, want=500, queue=queue) == expected
        await driver.forward(queue)
    assert (await progress(driver)).pending == len(members[2::3])
    assert await drain(driver, want=500, queue=HOME) == [*members[2::3], "then", "finally"]
    assert await counts(driver) == (0, MANY, 0, 0)


async def test_a_batch_is_found_in_its_home_only(driver: Driver) -> None:
    await driver.enqueue_batch(HOME, batch_of((Q, "a")))
    assert await driver.batch("batch-1", HOME) == await driver.batch("batch-1")
    assert await driver.batch("batch-1", Q) is None
    assert await driver.batch("unknown") is None
    assert (await info(driver, "a")).sequel == batch_of((Q, "a")).members[0].job.sequel
