"""Jobs that are past their timeout: cancelled, charged, and never allowed to hold up the others."""

import asyncio
import json
import time

import pytest

from queued.daemon.scoreboard import SlotState
from queued.drivers.base import Counts
from queued.jobs.job import Job
from tests.unit.working import counted, fresh, seen, state, until

_fresh = pytest.fixture(autouse=True)(fresh)


class Sleeps(Job):
    name = "test.sleeps"

    async def handle(self) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            seen.append("cleaned up")


async def test_a_job_past_its_timeout_is_cancelled_and_charged(shop):
    [job_id] = await shop.push(Sleeps())
    worker = await shop.clear(timeout=0.05, max_tries=2)
    assert seen == ["cleaned up"] * 2
    info = await shop.driver.find(job_id)
    assert info.counts == Counts(timeouts=2)
    record = json.loads(info.failed.record)
    assert record["type"] == "queued.errors.JobTimeout"
    assert "sleeps ran longer than its timeout of 50ms" in record["error"]
    assert "await asyncio.sleep(3600)" in record["traceback"]  # where it was
    assert counted(worker, "attempts_total", outcome="timed_out") == 2
    assert counted(worker, "job_errors_total", error="JobTimeout") == 2


class Own(Job):
    name = "test.own"
    timeout = 0.05

    async def handle(self) -> None:
        await asyncio.sleep(3600)


async def test_the_class_says_its_own_timeout(shop):
    [job_id] = await shop.push(Own())
    await shop.clear(timeout=3600, max_tries=1)
    assert (await shop.driver.find(job_id)).counts.timeouts == 1


class Blocks(Job):
    name = "test.blocks"

    async def handle(self) -> None:
        time.sleep(0.2)  # noqa: ASYNC251 - what a bad job does


async def test_a_job_that_blocked_the_loop_and_ended_late_has_still_succeeded(shop):
    [job_id] = await shop.push(Blocks())
    worker = await shop.clear(timeout=0.05)
    assert await shop.driver.find(job_id) is None
    assert counted(worker, "attempts_total", outcome="succeeded") == 1


class Finishes(Job):
    name = "test.finishes"

    async def handle(self) -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            seen.append("swallowed")


async def test_a_job_that_swallows_its_cancellation_and_returns_was_not_done_in_time(shop):
    [job_id] = await shop.push(Finishes())
    await shop.clear(timeout=0.05, max_tries=1)
    assert seen == ["swallowed"]
    assert (await shop.driver.find(job_id)).counts == Counts(timeouts=1)


class Inner(Job):
    name = "test.inner"

    async def handle(self) -> None:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(3600)
        except TimeoutError:
            seen.append("its own")


async def test_a_timeout_of_the_jobs_own_is_its_own_business(shop):
    await shop.push(Inner())
    worker = await shop.clear(timeout=60)
    assert seen == ["its own"]
    assert counted(worker, "attempts_total", outcome="succeeded") == 1


class Stubborn(Job):
    name = "test.stubborn"

    async def handle(self) -> None:
        while not state.go.is_set():
            try:
                await state.go.wait()
            except asyncio.CancelledError:
                seen.append("cancelled")


class Quick(Job):
    name = "test.quick"
    timeout = 0

    async def handle(self) -> None:
        seen.append("quick")


class Neighbour(Job):
    name = "test.neighbour"
    timeout = 0

    async def handle(self) -> None:
        await state.go.wait()
        seen.append("neighbour")


async def test_one_that_swallows_every_cancellation_overruns(shop):
    """It is cancelled again and again, no jobs are started beside it, and neighbours go on."""
    [job_id, _] = await shop.push(Stubborn(), Neighbour())
    async with shop.open(timeout=0.05, max_tries=1, concurrency=10) as worker:
        await until(lambda: worker._overrunning, "the overrun")
        await until(lambda: seen.count("cancelled") > 3, "further cancellations")
        await until(lambda: not worker._exchanger.unanswered, "the end of its listening")
        await shop.push(Quick())
        exchanges = len(shop.driver.exchanges)
        count = seen.count("cancelled")
        await until(lambda: seen.count("cancelled") > count + 5, "some sweeps")
        assert "quick" not in seen
        assert len(shop.driver.exchanges) == exchanges
        [slot] = [slot for slot in shop.board.read() if slot.job_id == job_id]
        assert slot.state is SlotState.RUNNING  # so that the master sees it, and kills
        state.go.set()
        await until(lambda: "quick" in seen, "the worker to reserve again")
        assert "neighbour" in seen
    assert (await shop.driver.find(job_id)).counts == Counts(timeouts=1)
    assert worker.exit_code == 0


class Thread(Job):
    name = "test.thread"

    def handle(self) -> None:
        seen.append("begun")
        state.thread_go.wait(60)


async def test_a_thread_that_does_not_end_overruns(shop):
    [job_id] = await shop.push(Thread())
    async with shop.open(timeout=0.05, max_tries=1) as worker:
        await until(lambda: worker._overrunning, "the overrun")
        await shop.push(Quick())
        [slot] = shop.board.read()
        assert slot.state is SlotState.RUNNING
        state.thread_go.set()
        await until(lambda: "quick" in seen, "the worker to reserve again")
    assert await shop.driver.find(job_id) is None  # it was late, and it has done its work


async def test_the_clock_of_a_plain_function_starts_with_its_thread(shop):
    await shop.push(Thread())
    async with shop.open(timeout=60):
        await until(lambda: seen, "the thread")
        [slot] = await until(shop.board.read, "the slot")
        assert slot.deadline == pytest.approx(slot.started + 60)
        state.thread_go.set()


async def test_a_timeout_of_none_is_none(shop):
    await shop.push(Neighbour())
    async with shop.open(timeout=0.05):
        [slot] = await until(shop.board.read, "the slot")
        assert slot.deadline == 0
        state.go.set()
        await until(lambda: "neighbour" in seen, "its end")
    assert (await shop.stats()).failed == 0
