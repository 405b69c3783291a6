"""Operators' verbs: queues, stats, find, cancel, purge."""

from __future__ import annotations

import time

import pytest

from queued.drivers.base import Charge, Driver, JobInfo, NewJob, QueueStats, State
from tests.contract.conftest import MakeDriver
from tests.contract.steps import (
    ME,
    Q,
    ack,
    drain,
    fail,
    failed_job,
    hold,
    info,
    look,
    names,
    push,
    release,
    reserve,
    retry,
    settle,
    size,
    until,
)


def test_the_driver_is_a_driver(driver: Driver) -> None:
    assert isinstance(driver, Driver)
    assert driver.name in {"memory", "redis", "database"}


async def test_ping(driver: Driver) -> None:
    await driver.ping()


async def test_closing_twice_is_harmless(make_driver: MakeDriver) -> None:
    driver = await make_driver()
    await driver.close()
    await driver.close()


async def test_closing_loses_nothing(make_driver: MakeDriver) -> None:
    one, two = await make_driver(), await make_driver()
    held = await hold(one, "a")
    await push(one, "b")
    await one.close()
    assert await size(two) == 1
    assert await settle(two, ack(held)) == []


async def test_queues_that_ever_had_a_job(driver: Driver) -> None:
    assert await driver.queues() == []
    await push(driver, "a", queue="zeta")
    await push(driver, "a", queue="alpha", delay=60)
    held = await hold(driver, "a", queue="mid")
    await settle(driver, ack(held), queue="mid")
    await driver.purge("zeta")
    await look(driver, "only-looked-at")
    await driver.stats(["only-asked-for"])
    await driver.renew("only-served", [ME], 30)
    assert await driver.queues() == ["alpha", "mid", "zeta"]


async def test_stats_of_an_unknown_queue_are_zeros(driver: Driver) -> None:
    assert dict(await driver.stats(["nothing"])) == {"nothing": QueueStats()}
    assert dict(await driver.stats([])) == {}


async def test_stats_count_each_state(driver: Driver) -> None:
    await push(driver, *names(10))
    await push(driver, "later", "even-later", delay=60)
    held = await reserve(driver, 6)
    await settle(driver, ack(held[0]), retry(held[1], 60), fail(held[2]), release(held[3]))
    stats = (await driver.stats([Q]))[Q]
    assert (stats.ready, stats.scheduled, stats.reserved, stats.failed) == (5, 3, 2, 1)
    assert (stats.size, stats.suspects) == (8, 0)
    assert stats.enqueued_total == 12
    assert stats.failed_last_hour == 1


async def test_enqueued_total_only_rises(driver: Driver) -> None:
    """It counts what was enqueued, once each: no duplicate, no retry, no requeue."""
    await push(driver, "a", "b")
    await push(driver, "c", delay=60)
    await driver.enqueue(Q, [(await info_as_new(driver, "a"))])
    [held, _] = await reserve(driver, 2)
    await settle(driver, retry(held))
    await settle(driver, *map(fail, await reserve(driver)))
    await driver.requeue(Q, ["a"])
    await driver.purge(Q)
    assert (await driver.stats([Q]))[Q].enqueued_total == 3
    await push(driver, "a")
    assert (await driver.stats([Q]))[Q].enqueued_total == 4


async def info_as_new(driver: Driver, job_id: str) -> NewJob:
    found = await info(driver, job_id)
    return NewJob(found.id, found.payload)


async def pass_time(driver: Driver) -> None:
    """Return when 0.1 s have passed on the back-end's clock."""
    await push(driver, "witness", delay=0.1, queue="witness")
    await until(lambda: driver.promote("witness"))
    await driver.purge("witness")


async def test_oldest_ages(driver: Driver) -> None:
    await push(driver, "a")
    await pass_time(driver)
    await push(driver, "b", "c")
    stats = (await driver.stats([Q]))[Q]
    assert 0.099 <= stats.oldest_ready_age_seconds < 60
    assert stats.oldest_reserved_age_seconds == 0
    [held] = await reserve(driver)
    await pass_time(driver)
    stats = (await driver.stats([Q]))[Q]
    assert 0.099 <= stats.oldest_reserved_age_seconds < 60
    assert 0.099 <= stats.oldest_ready_age_seconds < 60
    assert await settle(driver, ack(held)) == []
    await drain(driver)
    stats = (await driver.stats([Q]))[Q]
    assert (stats.oldest_ready_age_seconds, stats.oldest_reserved_age_seconds) == (0, 0)


async def test_ages_count_from_the_last_move(driver: Driver) -> None:
    """A retried job waits since its retry, a reserved one is held since its reserve."""
    await push(driver, "a")
    await pass_time(driver)
    before = time.monotonic()
    [held] = await reserve(driver)
    stats = (await driver.stats([Q]))[Q]
    assert stats.oldest_reserved_age_seconds <= time.monotonic() - before + 0.01
    await pass_time(driver)
    before = time.monotonic()
    await settle(driver, retry(held))
    stats = (await driver.stats([Q]))[Q]
    assert stats.oldest_ready_age_seconds <= time.monotonic() - before + 0.01
    [again] = await reserve(driver)
    assert again.ready_at >= held.reserved_at + 0.099
    assert again.enqueued_at == pytest.approx(held.enqueued_at, abs=0.001)


async def test_the_age_of_what_was_handed_back_counts_from_its_ready_time(driver: Driver) -> None:
    held = await hold(driver, "a")
    await pass_time(driver)
    await settle(driver, release(held))
    assert (await driver.stats([Q]))[Q].oldest_ready_age_seconds >= 0.099


async def test_a_scheduled_job_has_no_ready_age(driver: Driver) -> None:
    await push(driver, "a", delay=60)
    assert (await driver.stats([Q]))[Q].oldest_ready_age_seconds == 0


async def test_stats_of_several_queues_at_once(driver: Driver) -> None:
    await push(driver, "a", queue="one")
    await push(driver, "a", "b", queue="two")
    await push(driver, "c", queue="two", delay=60)
    stats = await driver.stats(["two", "nothing", "one"])
    assert {name: sample.size for name, sample in stats.items()} == {
        "two": 3,
        "nothing": 0,
        "one": 1,
    }


async def test_find_in_each_state(driver: Driver) -> None:
    await push(driver, "scheduled", delay=60)
    await failed_job(driver, "failed")
    await hold(driver, "reserved")
    await push(driver, "ready")
    found: dict[str, JobInfo] = {}
    for state in ("ready", "scheduled", "reserved", "failed"):
        job = await driver.find(state)
        assert job is not None
        assert await driver.find(state, Q) == job
        assert await driver.find(state, "other") is None
        assert (job.id, job.queue, job.state, job.payload) == (state, Q, state, state.encode())
        found[state] = job
    assert found["reserved"].owner == ME
    assert found["reserved"].reserved_at is not None
    assert {job.owner for job in found.values()} == {None, ME}
    assert found["scheduled"].due_at is not None
    assert found["scheduled"].due_at > found["scheduled"].enqueued_at + 50
    assert found["ready"].ready_at == pytest.approx(found["ready"].enqueued_at, abs=0.001)
    assert found["failed"].failed is not None
    assert found["failed"].failed.record == b"why failed"
    assert [job.failed for job in found.values() if job.failed] == [found["failed"].failed]


async def test_how_many_are_ahead_of_a_ready_job(driver: Driver) -> None:
    await push(driver, "scheduled", delay=60)
    await failed_job(driver, "failed")
    await hold(driver, "reserved")
    held = await hold(driver, "released")
    await push(driver, *names(3), "last")
    await push(driver, "elsewhere", queue="other")
    assert [await driver.ahead(Q, one) for one in (*names(3), "last")] == [0, 1, 2, 3]
    assert await driver.ahead(Q, "last", limit=4) == 3
    assert await driver.ahead(Q, "last", limit=3) is None
    for one in ("scheduled", "failed", "reserved", "released", "elsewhere", "nothing"):
        assert await driver.ahead(Q, one) is None
    await settle(driver, release(held))
    assert await driver.ahead(Q, "released") == 0
    assert await driver.ahead(Q, "last") == 4


async def test_suspects_are_ahead_of_suspects_only(driver: Driver) -> None:
    await push(driver, "a", "b", "plain")
    held = await reserve(driver, 2)
    await settle(driver, *(retry(one, charge=Charge.CRASH) for one in held))
    assert [await driver.ahead(Q, one) for one in ("a", "b", "plain")] == [0, 1, 0]


async def test_find_nothing(driver: Driver) -> None:
    assert await driver.find("nothing") is None
    assert await driver.find("nothing", Q) is None
    await push(driver, "a")
    assert await driver.find("nothing") is None


async def test_find_among_many_queues(driver: Driver) -> None:
    for number in range(20):
        await push(driver, f"job-{number}", queue=f"queue-{number}")
    for number in (0, 11, 19):
        found = await driver.find(f"job-{number}")
        assert found is not None
        assert found.queue == f"queue-{number}"


async def test_only_what_waits_is_cancelled(driver: Driver) -> None:
    await push(driver, "scheduled", delay=60)
    await failed_job(driver, "failed")
    held = await hold(driver, "reserved")
    await push(driver, "ready", "last")
    for state in (State.READY, State.SCHEDULED, State.RESERVED, State.FAILED):
        assert await driver.cancel("other", state) is None
        assert await driver.cancel(Q, state) is state
    assert await driver.cancel(Q, "nothing") is None
    assert await driver.find("ready") is None
    assert await driver.find("scheduled") is None
    assert await driver.cancel(Q, "ready") is None
    assert (await info(driver, "reserved")).owner == ME
    assert await settle(driver, ack(held)) == []
    assert [job.id for job in await driver.failed(Q)] == ["failed"]
    assert await drain(driver) == ["last"]


async def test_a_cancelled_job_that_was_due_never_comes(driver: Driver) -> None:
    await push(driver, "a", delay=0.05)
    assert await driver.cancel(Q, "a") is State.SCHEDULED
    await push(driver, "witness", delay=0.05)
    await until(lambda: driver.promote(Q))
    assert await drain(driver) == ["witness"]


async def test_a_cancelled_id_may_return(driver: Driver) -> None:
    held = await hold(driver, "a")
    await settle(driver, retry(held, note=b"note"))
    await driver.cancel(Q, "a")
    again = await hold(driver, "a")
    assert (again.counts.runs, again.history) == (0, b"")


async def test_purge_removes_what_waits(driver: Driver) -> None:
    await failed_job(driver, "failed")
    held = await hold(driver, "reserved")
    await push(driver, *names(20))
    await push(driver, *names(10, "later"), delay=60)
    await push(driver, "a", queue="other")
    assert await driver.purge(Q) == 30
    assert await driver.purge(Q) == 0
    assert await driver.purge("never-seen") == 0
    stats = (await driver.stats([Q]))[Q]
    assert (stats.ready, stats.scheduled, stats.reserved, stats.failed) == (0, 0, 1, 1)
    assert await driver.find("job-0000") is None
    assert await driver.find("later-0000") is None
    assert await reserve(driver) == []
    assert await settle(driver, ack(held)) == []
    assert await size(driver, "other") == 1


async def test_purge_of_more_than_one_batch(driver: Driver) -> None:
    for start in range(3):
        await push(driver, *names(1000, f"batch-{start}"))
    assert await driver.purge(Q) == 3000
    assert await size(driver) == 0


async def test_a_purged_id_may_return(driver: Driver) -> None:
    await push(driver, "a")
    await push(driver, "b", delay=60)
    await driver.purge(Q)
    await push(driver, "a", "b")
    assert await drain(driver) == ["a", "b"]
