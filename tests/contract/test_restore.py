"""restore: failed jobs that come from elsewhere, stored as they are."""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter

from queued.drivers.base import (
    NO_COUNTS,
    Charge,
    Counts,
    Driver,
    FailedJob,
    NewJob,
    State,
    Unique,
)
from queued.drivers.sequel import Parcel, Sequel
from tests.contract.steps import Q, ack, drain, fail, hold, push, reserve, retry, settle
from tests.contract.test_failed import listed

AGO = 1_700_000_000.0


def failure(name: str, **values: object) -> FailedJob:
    made = FailedJob(name, Q, name.encode(), b'{"error":"x"}', AGO + 60, AGO)
    return replace(made, **values)


async def test_what_was_taken_out_comes_back_as_it_was(driver: Driver) -> None:
    held = await hold(driver, "a")
    await settle(driver, retry(held, charge=Charge.TIMEOUT, note=b"one"))
    [held] = await reserve(driver)
    await settle(driver, fail(held, note=b"two", hook=3600.0))
    await settle(driver, fail(await hold(driver, "b")))
    taken = await driver.failed(Q)
    assert await driver.forget(Q, ["a", "b"]) == [True, True]
    assert await driver.restore(Q, taken) == [True, True]
    assert await driver.failed(Q) == taken


async def test_any_bytes_and_counts(driver: Driver) -> None:
    every = bytes(range(256))
    odd = failure("a", payload=every, record=every, history=every, counts=Counts(1, 2, 3, 4, 5, 6))
    empty = failure("b", payload=b"", record=b"", failed_at=AGO)
    large = failure("c", payload=b"x" * 9_000_000, failed_at=AGO - 1)
    assert await driver.restore(Q, [odd, empty, large]) == [True] * 3
    assert await driver.failed(Q) == [odd, empty, large]


async def test_an_id_that_exists_stays_as_it_is(driver: Driver) -> None:
    await push(driver, "waits")
    jobs = [failure("a"), failure("waits"), failure("a", payload=b"other")]
    assert await driver.restore(Q, jobs) == [True, False, False]
    assert await driver.restore(Q, jobs) == [False] * 3
    assert await driver.failed(Q) == [failure("a")]
    assert await driver.restore("other", [failure("a", queue="other")]) == [True]
    assert await driver.restore(Q, []) == []


async def test_they_stand_among_the_others_by_their_time(driver: Driver) -> None:
    await settle(driver, fail(await hold(driver, "new")))
    ages = {"b": AGO + 2, "a": AGO + 3, "c": AGO + 1}
    await driver.restore(Q, [failure(name, failed_at=at) for name, at in ages.items()])
    assert listed(await driver.failed(Q)) == ["new", "a", "b", "c"]
    assert listed(await driver.failed(Q, 2, 1)) == ["a", "b"]


async def test_the_queue_is_known_and_counts_them(driver: Driver) -> None:
    assert await driver.restore(Q, [failure("a"), failure("b")]) == [True, True]
    assert await driver.queues() == [Q]
    stats = (await driver.stats([Q]))[Q]
    assert (stats.failed, stats.failed_last_hour, stats.size) == (2, 0, 0)
    assert stats.enqueued_total == 2
    assert await driver.forget(Q, ["a"]) == [True]
    assert (await driver.stats([Q]))[Q].failed == 1


async def test_a_restored_job_can_be_run(driver: Driver) -> None:
    await push(driver, "first")
    await driver.restore(Q, [failure("a", counts=Counts(errors=3), history=b"note\n")])
    found = await driver.find("a")
    assert found is not None
    assert found.state is State.FAILED
    assert await driver.requeue(Q, ["a"]) == [True]
    [first, again] = await reserve(driver, 2)
    assert (first.id, again.id) == ("first", "a")
    assert (again.payload, again.counts, again.history) == (b"a", NO_COUNTS, b"note\n")
    assert await settle(driver, ack(first), ack(again)) == []
    assert await drain(driver) == []


async def test_a_pending_hook_is_due(driver: Driver) -> None:
    await driver.restore(Q, [failure("a", hook_pending=True), failure("b")])
    assert listed(await driver.claim_hooks(Q, 10, 60)) == ["a"]
    await driver.finish_hook(Q, "a")
    assert not any(job.hook_pending for job in await driver.failed(Q))


async def test_what_it_held_and_what_follows_it_come_back(driver: Driver) -> None:
    then = Parcel(Q, NewJob("then", b"then")).packed()
    sequel = Sequel(then=then).packed()
    named = NewJob("a", b"a", unique=Unique("name"))
    timed = NewJob("b", b"b", unique=Unique("other", 3600.0))
    assert await driver.enqueue(Q, [named, timed]) == [True, True]
    assert await driver.enqueue(Q, [NewJob("link", b"link", sequel=sequel)]) == [True]
    await settle(driver, *map(fail, await reserve(driver, 3)))
    taken = sorted(await driver.failed(Q), key=attrgetter("id"))
    assert [(job.id, job.unique, job.sequel) for job in taken] == [
        ("a", "name", b""),
        ("b", None, b""),
        ("link", None, sequel),
    ]
    assert await driver.forget(Q, ["a", "b", "link"]) == [True] * 3
    assert await driver.restore(Q, taken) == [True] * 3
    assert sorted(await driver.failed(Q), key=attrgetter("id")) == taken
    assert await driver.enqueue(Q, [NewJob("c", b"c", unique=Unique("name"))]) == [True]
    assert await driver.requeue(Q, ["a"]) == [False]  # another holds its name
    assert await driver.cancel(Q, "c") is State.READY
    assert await driver.requeue(Q, ["a"]) == [True]
    assert await driver.enqueue(Q, [NewJob("d", b"d", unique=Unique("name"))]) == ["a"]
    assert await driver.requeue(Q, ["link"]) == [True]
    again = await reserve(driver, 2)
    assert [job.id for job in again] == ["a", "link"]
    assert await settle(driver, *map(ack, again)) == []
    assert await drain(driver) == ["then"]
