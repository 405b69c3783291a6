"""The monitor in its own process over real back-ends: who is dead, and what becomes of the jobs."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest

from queued.drivers import driver_for
from queued.drivers.base import Driver, Lane, NewJob, State
from tests.process.monitored import Master, owner

PAYLOAD = b'{"v":1,"job":"app.jobs.Send"}\n{}'


@pytest.fixture
async def driver(connection: str) -> AsyncIterator[Driver]:
    driver = driver_for(connection)
    await driver.open()
    yield driver
    await driver.close()


@pytest.fixture
async def master(connection: str) -> AsyncIterator[Master]:
    async with Master(connection) as master:
        yield master


async def hold(driver: Driver, name: str, *ids: str, lease: float = 30.0) -> None:
    """Let an owner reserve new jobs of these ids."""
    await driver.enqueue("q", [NewJob(one, PAYLOAD) for one in ids])
    answer = await driver.exchange("q", name, want=len(ids), nonce=1, lease=lease)
    assert [job.id for job in answer.jobs] == list(ids)


async def state(driver: Driver, job_id: str) -> State | None:
    found = await driver.find(job_id, "q")
    return found.state if found else None


def verdict(name: str, **details: Any) -> dict[str, Any]:
    usual = {"job": "app.jobs.Send", "fence": 1, "max_tries": 3, "retry_in": 60, "ran": 1}
    return {"verdict": name, **usual, **details}


async def test_what_a_dead_worker_held_is_settled_by_verdict(
    master: Master, driver: Driver
) -> None:
    await hold(driver, owner(), "finished", "crashed", "late", "waiting")
    await master.start()
    master.tell_fleet()
    master.tell_gone(
        owner(),
        {
            "finished": verdict("finished"),
            "crashed": verdict("crashed", fence=2),
            "late": verdict("timed_out", fence=3, max_tries=1),
        },
        signal=int(signal.SIGSEGV),
        worker="q/1",
    )
    await master.until(lambda: master.heard("settled", owner=owner()))

    assert await state(driver, "finished") is None
    assert await state(driver, "crashed") is State.READY
    assert await state(driver, "late") is State.FAILED
    again = await driver.exchange("q", owner(2), want=5, nonce=1)
    assert [job.id for job in again.jobs] == ["waiting"]
    alone = await driver.exchange("q", owner(3), want=5, nonce=1, lane=Lane.SOLO)
    assert [job.id for job in alone.jobs] == ["crashed"]
    assert alone.jobs[0].counts.crashes == 1
    assert b"SIGSEGV" in alone.jobs[0].history

    page = await master.until_get(
        "/metrics", lambda answer: 'reason="finished"} 1.0' in answer.text
    )
    for reason in ("finished", "crashed", "timed_out", "not_started"):
        assert f'queued_jobs_reclaimed_total{{queue="q",reason="{reason}"}} 1.0' in page.text


async def test_a_burial_that_is_told_of_twice_is_confirmed_twice(
    master: Master, driver: Driver
) -> None:
    await hold(driver, owner(), "one")
    await master.start()
    for times in (1, 2):
        master.tell_gone(owner(), {"one": verdict("suspect")})
        await master.until(lambda times=times: len(master.heard("settled")) == times)
    found = await driver.find("one")
    assert found
    assert found.counts.lost == 1


async def test_the_next_monitor_finishes_what_the_last_one_began(
    master: Master, driver: Driver
) -> None:
    await hold(driver, owner(), "one")
    await master.start()
    await driver.retire("q", owner())  # the first half, and then it dies
    await master.end(signal.SIGKILL)
    await master.start()
    master.tell_gone(owner(), {"one": verdict("finished")})
    await master.until(lambda: master.heard("settled", owner=owner()))
    assert await state(driver, "one") is None


async def test_owners_of_earlier_boots_are_buried_at_the_start(
    master: Master, driver: Driver
) -> None:
    await hold(driver, owner(boot="00000000"), "earlier")
    await hold(driver, owner(install="bbbbbbbb"), "elsewhere")
    await master.start()
    async with asyncio.timeout(60):
        while await state(driver, "earlier") is not State.READY:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert await state(driver, "elsewhere") is State.RESERVED


async def test_an_owner_that_cannot_be_buried_by_verdict_is_reaped(
    connection: str, driver: Driver
) -> None:
    """Whatever is wrong with a sentence, its jobs must not be held for ever."""
    await hold(driver, owner(), "held", lease=1.0)
    async with Master(connection, lease=2.0) as master:
        await master.start()
        master.tell_fleet()
        master.tell_gone(owner(), {"held": verdict("crashed", ran="a while")}, signal=9)
        async with asyncio.timeout(60):
            while await state(driver, "held") is not State.READY:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    found = await driver.find("held", "q")
    assert found
    assert (found.counts.lost, found.counts.crashes) == (1, 0)


async def test_leases_of_the_living_are_renewed_and_due_jobs_promoted(
    master: Master, driver: Driver
) -> None:
    await hold(driver, owner(), "held", lease=5.0)
    await driver.enqueue("q", [NewJob("due", PAYLOAD, 0.5)])
    await master.start()
    master.tell_fleet(owner())
    async with asyncio.timeout(60):
        while (await driver.owners("q"))[owner()] < 20:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        while await state(driver, "due") is not State.READY:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_suspects_are_reported(master: Master, driver: Driver) -> None:
    await hold(driver, owner(), "pill")
    await master.start()
    master.tell_gone(owner(), {"pill": verdict("crashed")})
    await master.until(lambda: master.heard("suspects", queues=["q"]))
    sample = master.heard("sample", driver_up=True)[-1]
    assert sample["queues"]["q"]["suspects"] == 1


async def test_sigterm_lets_it_finish_the_burials_that_it_knows(
    master: Master, driver: Driver
) -> None:
    names = [owner(index) for index in range(1, 21)]
    for number, name in enumerate(names):
        await hold(driver, name, f"job-{number}")
    await master.start()
    for number, name in enumerate(names):
        master.tell_gone(name, {f"job-{number}": verdict("finished", fence=number + 1)})
    assert await master.end(signal.SIGTERM) == 0
    settled = {frame["owner"] for frame in master.heard("settled")}
    for number, name in enumerate(names):
        if name in settled:
            assert await state(driver, f"job-{number}") is None
    assert settled <= set(names)


async def test_its_counts_reach_the_master_before_the_page(master: Master, driver: Driver) -> None:
    await hold(driver, owner(), "one")
    await master.start()
    master.tell_fleet()
    master.tell_gone(owner(), {"one": verdict("suspect")})
    await master.until_get("/metrics", lambda answer: 'reason="suspect"} 1.0' in answer.text)
    last = master.heard("snapshot")[-1]
    reclaimed = last["data"]["counters"]["jobs_reclaimed_total"]
    assert [labels["reason"] for labels, value in reclaimed if value == 1] == ["suspect"]
    assert {"queue": "q", "reason": "lease_expired"} in [labels for labels, _ in reclaimed]
