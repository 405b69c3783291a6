"""Runs and hooks that end at an awkward moment: beside a call that fails, or after their time."""

import asyncio
import threading
from types import SimpleNamespace

import pytest

from queued.daemon.worker import hooks
from queued.drivers.base import Ack, Charge, Lane, Release
from queued.errors import DriverUnavailable
from queued.jobs.job import Job
from queued.jobs.outcome import Fail
from tests.unit.working import QUEUE, counted, until

seen: list = []
state = SimpleNamespace()


@pytest.fixture(autouse=True)
async def fresh():
    seen.clear()
    state.gates = {}
    state.thread_go = threading.Event()
    yield
    for gate in state.gates.values():
        gate.set()
    state.thread_go.set()
    await asyncio.sleep(0)


class Gated(Job):
    name = "test.le_gated"
    key: str

    async def handle(self) -> None:
        seen.append(self.key)
        await state.gates.setdefault(self.key, asyncio.Event()).wait()


async def test_a_run_that_ends_while_the_backend_is_away_is_settled_when_it_is_back(shop):
    await shop.push(Gated(key="first"), Gated(key="second"))
    async with shop.open(concurrency=2, max_jobs=2) as worker:
        await until(lambda: len(seen) == 2, "the runs")
        shop.driver.down = True
        state.gates["first"].set()
        tries = len(shop.driver.exchanges)
        await until(lambda: len(shop.driver.exchanges) > tries, "the call that fails")
        state.gates["second"].set()
        tries = len(shop.driver.exchanges)
        await until(lambda: len(shop.driver.exchanges) > tries, "the call to fail once more")
        shop.driver.down = False
        async with asyncio.timeout(20):
            assert await asyncio.shield(worker.over) == 0
    assert (await shop.stats()).reserved == 0


class Thread(Job):
    name = "test.le_thread"

    def handle(self) -> None:
        seen.append(self.attempts)
        state.thread_go.wait(60)


async def test_a_plain_function_that_returns_after_its_timeout_has_still_succeeded(shop):
    [job_id] = await shop.push(Thread())
    async with shop.open(timeout=0.05) as worker:
        await until(lambda: worker._overrunning, "the deadline")
        state.thread_go.set()
        await until(lambda: not worker._executor.running, "its end")
    assert seen == [1]
    assert await shop.driver.find(job_id) is None
    assert counted(worker, "attempts_total", outcome="succeeded") == 1


async def test_a_plain_function_that_returns_while_all_is_handed_back_is_done(shop):
    [job_id] = await shop.push(Thread())
    async with shop.open() as worker:
        await until(lambda: seen, "the run")
        worker.life.quit()
        state.thread_go.set()
        await worker.over
    assert await shop.driver.find(job_id) is None


class Cleans(Job):
    name = "test.le_cleans"

    async def handle(self) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.2)
            seen.append("rolled back")


async def test_a_cancelled_job_has_time_to_clean_up(shop):
    await shop.push(Cleans())
    await shop.clear(timeout=0.05, max_tries=1)
    assert seen == ["rolled back"]


class Plain(Job):
    name = "test.le_plain"
    fails: bool = False

    def handle(self) -> None:
        if self.fails:
            raise Fail("no")
        seen.append("next")
        state.thread_go.wait(60)

    def failed(self, exception: Exception) -> None:
        seen.append("hook")


async def test_a_plain_hook_does_not_wait_for_the_thread_of_the_next_job(shop):
    await shop.push(Plain(fails=True), Plain())
    async with shop.open(concurrency=1) as worker:
        await until(lambda: seen, "the hook")
        assert seen[0] == "hook"
        await until(lambda: "next" in seen, "the next job")
        state.thread_go.set()
        await until(lambda: not worker._executor.running, "its end")


async def test_the_slot_that_was_kept_for_a_hook_is_free_when_the_failure_is_stale(shop):
    class Fails(Job):
        name = "test.le_fails"

        async def handle(self) -> None:
            seen.append("fails")
            await state.gates.setdefault("fails", asyncio.Event()).wait()
            raise Fail("no")

        async def failed(self, exception: Exception) -> None:
            seen.append("hook")

    [job_id] = await shop.push(Fails())
    async with shop.open(concurrency=1, sleep=3600) as worker:
        await until(lambda: seen, "the run")
        fence = next(iter(worker._executor.running)).reservation.fence
        await shop.driver.exchange(QUEUE, worker.spec.owner, [Ack(job_id, fence)])
        await shop.push(Gated(key="next"))
        state.gates["fails"].set()
        await until(lambda: "next" in seen, "the next job")
        state.gates["next"].set()
    assert "hook" not in seen


async def test_a_hook_of_which_the_backend_did_not_hear_for_long_is_not_run_again(
    shop, monkeypatch
):
    monkeypatch.setattr(hooks, "retry_pauses", lambda: lambda: 0.001)
    tries = []
    original = shop.driver.finish_hook

    async def fails(queue: str, job_id: str, record: bytes) -> None:
        tries.append(job_id)
        if len(tries) < 50:
            raise DriverUnavailable("the test has cut the line")
        await original(queue, job_id, record)

    shop.driver.finish_hook = fails
    [job_id] = await shop.push(Plain(fails=True))
    async with shop.open() as worker:
        await until(lambda: seen and not worker._hooks.active, "the end of the hook")
    [failed] = await shop.driver.failed(QUEUE)
    assert failed.id == job_id
    assert not failed.hook_pending


class Suspect(Job):
    name = "test.le_suspect"
    key: str

    async def handle(self) -> None:
        seen.append(self.key)
        raise Fail("no")

    async def failed(self, exception: Exception) -> None:
        seen.append(f"hook of {self.key}")
        await asyncio.sleep(0)
        seen.append("its end")


async def test_a_suspect_does_not_run_beside_a_hook(shop):
    ids = await shop.push(Suspect(key="a"), Suspect(key="b"))
    for _ in range(2):
        held = await shop.driver.exchange(QUEUE, "dead", want=2)
        settlements = [Release(job.id, job.fence, Charge.LOST) for job in held.jobs]
        await shop.driver.exchange(QUEUE, "dead", settlements)
    async with shop.open(lane=Lane.SOLO, concurrency=1) as worker:
        async with asyncio.timeout(60):
            assert await asyncio.shield(worker.over) == 0
    assert seen == ["a", "hook of a", "its end", "b", "hook of b", "its end"]
    assert [failed.hook_pending for failed in await shop.driver.failed(QUEUE)] == [False, False]
    assert len(ids) == 2


async def test_a_clock_that_is_set_back_takes_nothing_from_a_sum(shop):
    await shop.push(Gated(key="one"))
    real, shop.driver.exchange = shop.driver.exchange, None

    async def back(*args, **options):
        answer = await real(*args, **options)
        jobs = [job._replace(reserved_at=job.ready_at - 3600) for job in answer.jobs]
        return answer._replace(jobs=jobs)

    shop.driver.exchange = back
    async with shop.open() as worker:
        await until(lambda: seen, "the run")
        state.gates["one"].set()
        await until(lambda: not worker._executor.running, "its end")
    histograms = worker.metrics.snapshot()["histograms"]
    for name in ("job_wait_seconds", "job_end_to_end_seconds"):
        [[_, _, total]] = histograms[name]
        assert total >= 0
