"""Schedules: each tick is taken once, whoever tries, and its job comes with it or not at all."""

from __future__ import annotations

import asyncio
import time

from queued.drivers.base import Driver, NewJob, QueueStats, Reservation
from tests.contract.conftest import MakeDriver
from tests.contract.steps import Q, drain, listen, push, reserve

T = 1_800_000_000


def job(name: str = "t") -> NewJob:
    return NewJob(name, b"payload of " + name.encode())


async def last(driver: Driver, queue: str = Q) -> dict[str, int]:
    return (await driver.ticks(queue)).last


async def stats(driver: Driver) -> QueueStats:
    return (await driver.stats([Q]))[Q]


async def test_a_new_schedule_has_no_tick(driver: Driver) -> None:
    known = await driver.ticks(Q)
    assert known.last == {}
    assert abs(known.now - time.time()) < 3600


async def test_the_clock_goes_on(driver: Driver) -> None:
    before = (await driver.ticks(Q)).now
    await asyncio.sleep(0.01)
    assert (await driver.ticks(Q)).now > before


async def test_a_tick_is_noted_and_its_job_enqueued(driver: Driver) -> None:
    assert await driver.tick(Q, "nightly", None, T, job("a"))
    assert await last(driver) == {"nightly": T}
    sample = await stats(driver)
    assert (sample.ready, sample.enqueued_total) == (1, 1)
    assert Q in await driver.queues()
    [taken] = await reserve(driver)
    assert (taken.id, taken.payload) == ("a", b"payload of a")


async def test_a_tick_may_go_by(driver: Driver) -> None:
    assert await driver.tick(Q, "nightly", None, T, None)
    assert await driver.tick(Q, "nightly", T, T + 60, None)
    assert await last(driver) == {"nightly": T + 60}
    assert (await stats(driver)).ready == 0


async def test_only_whoever_knows_the_last_tick_takes_the_next(driver: Driver) -> None:
    assert not await driver.tick(Q, "nightly", T, T + 60, job())
    assert await driver.tick(Q, "nightly", None, T, None)
    for wrong in (None, T - 60, T + 60):
        assert not await driver.tick(Q, "nightly", wrong, T + 60, job())
    assert await last(driver) == {"nightly": T}
    assert (await stats(driver)).enqueued_total == 0


async def test_a_repeated_call_changes_nothing(driver: Driver) -> None:
    """The answer was lost: the job is done already, and is not enqueued again."""
    assert await driver.tick(Q, "nightly", None, T, job())
    await drain(driver)
    assert not await driver.tick(Q, "nightly", None, T, job())
    assert (await stats(driver)).ready == 0


async def test_a_job_that_waits_already_is_not_there_twice(driver: Driver) -> None:
    await push(driver, "t")
    assert await driver.tick(Q, "nightly", None, T, job("t"))
    assert await last(driver) == {"nightly": T}
    assert (await stats(driver)).ready == 1


async def test_schedules_and_queues_are_apart(driver: Driver) -> None:
    assert await driver.tick(Q, "a", None, T, job("a"))
    assert await driver.tick(Q, "b", None, T + 1, job("b"))
    assert await driver.tick("other", "a", None, T + 2, job("a"))
    assert await last(driver) == {"a": T, "b": T + 1}
    assert await last(driver, "other") == {"a": T + 2}


async def test_the_delay_of_a_job_counts_for_nothing(driver: Driver) -> None:
    assert await driver.tick(Q, "a", None, T, job("a")._replace(delay=60.0))
    assert (await stats(driver)).ready == 1


async def test_an_idle_worker_wakes(driver: Driver, make_driver: MakeDriver) -> None:
    idle = await make_driver()

    async def wait() -> list[Reservation]:
        while not (jobs := await listen(idle, 30.0)):  # a wake-up may be for nothing
            pass
        return jobs

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0.1)
    assert await driver.tick(Q, "a", None, T, job("a"))
    [taken] = await asyncio.wait_for(waiting, 20)
    assert taken.id == "a"


async def test_of_many_hosts_one_takes_a_tick(make_driver: MakeDriver) -> None:
    hosts = [await make_driver() for _ in range(5)]
    assert await hosts[0].tick(Q, "a", None, T, None)
    for tick in range(T, T + 10):
        answers = await asyncio.gather(
            *(host.tick(Q, "a", tick, tick + 1, job(f"a{tick}")) for host in hosts)
        )
        assert sorted(answers) == [False] * 4 + [True]
    assert (await stats(hosts[0])).enqueued_total == 10
