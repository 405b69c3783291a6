"""``queued work``: what a worker without a master does by itself."""

import asyncio
import contextlib
import json
import re
import threading
from types import SimpleNamespace

import pytest
import structlog

from queued.daemon.worker.standalone import Standalone
from queued.drivers.base import Counts, Lane
from queued.jobs.job import Job
from tests.unit.test_worker import suspects
from tests.unit.working import QUEUE, counted, until, until_async

seen: list = []
state = SimpleNamespace()


@pytest.fixture(autouse=True)
async def fresh():
    seen.clear()
    state.running = 0
    state.go = asyncio.Event()
    state.thread_go = threading.Event()
    yield
    state.go.set()  # what was given up on ends with its test
    state.thread_go.set()
    await asyncio.sleep(0)


class Quick(Job):
    name = "test.s_quick"

    async def handle(self) -> None:
        state.running += 1
        await asyncio.sleep(0.002)
        seen.append((self.job_id, state.running))
        await asyncio.sleep(0.002)
        state.running -= 1


class Waits(Job):
    name = "test.s_waits"
    timeout = 0

    async def handle(self) -> None:
        seen.append(self.job_id)
        await state.go.wait()


class Thread(Job):
    name = "test.s_thread"

    def handle(self) -> None:
        seen.append(self.job_id)
        state.thread_go.wait(60)


class Swallows(Job):
    name = "test.s_swallows"

    async def handle(self) -> None:
        seen.append(self.job_id)
        while not state.go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await state.go.wait()


async def test_it_runs_jobs(shop):
    await shop.push(Quick(), Quick())
    async with shop.open(Standalone):
        await until(lambda: len(seen) == 2, "the jobs")


async def test_it_registers_and_renews_its_own_lease(shop):
    async with shop.open(Standalone) as worker:

        async def registered() -> bool:
            return worker.spec.owner in await shop.driver.owners(QUEUE)

        await until_async(registered, "its owner")
        assert counted(worker, "driver_errors_total") == 0


async def test_suspects_run_alone_and_others_go_on(shop):
    alone = await suspects(shop, Quick(), Quick())
    others = await shop.push(*[Quick() for _ in range(30)])
    async with shop.open(Standalone, concurrency=5):
        await until(lambda: len(seen) == 32, "all jobs")
    beside = dict(seen)
    assert all(beside[job_id] == 1 for job_id in alone)
    assert any(beside[job_id] > 1 for job_id in others)
    lanes = [lane for _, _, want, lane in shop.driver.exchanges if want]
    assert lanes.count(Lane.SOLO) == 2
    assert seen[-1][0] in others  # suspects took turns with the others


async def test_suspects_alone_do_not_wait_for_a_push(shop):
    await suspects(shop, Quick(), Quick(), Quick())
    async with shop.open(Standalone, sleep=3600):
        await until(lambda: len(seen) == 3, "the suspects")


async def test_a_suspect_waits_until_nothing_else_runs(shop):
    [waiting] = await shop.push(Waits())
    async with shop.open(Standalone, sleep=3600) as worker:
        await until(lambda: seen, "the run")
        await suspects(shop, Quick())
        await until(lambda: worker._suspects, "the worker to know of the suspect")
        await shop.push(Quick())
        await asyncio.sleep(0.05)
        assert seen == [waiting]
        state.go.set()
        await until(lambda: len(seen) == 3, "both")


@pytest.mark.parametrize("job", [Thread(), Swallows()], ids=["plain", "async"])
async def test_a_job_that_cannot_be_ended_ends_the_worker(shop, job):
    [job_id] = await shop.push(job)
    [neighbour] = await shop.push(Waits())
    with structlog.testing.capture_logs() as logged:
        async with shop.open(Standalone, timeout=0.05, kill_grace=0.1, max_tries=2) as worker:
            assert await worker.over == 70
    assert set(seen) == {job_id, neighbour}
    info = await shop.driver.find(job_id)
    assert info.counts == Counts(timeouts=1)
    dossier = json.loads(info.history)["dossier"]
    assert dossier["reason"] == "hung"
    assert dossier["stack"].startswith(f"Job {job_id} (most recent call first):\n  File ")
    own = dossier["stack"].split("\n\n")[0]
    assert re.search(r'test_standalone\.py", line \d+ in handle$', own), "and no frame of ours"
    assert (await shop.driver.find(neighbour)).counts == Counts(releases=1)
    assert worker.life.reason == "hung"
    (event,) = [event for event in logged if event["event"] == "worker.hung"]
    assert event["overran"] == [job_id]
    assert "Current thread" in event["stack"]  # and all others


async def test_one_that_ends_within_the_grace_costs_nothing(shop):
    await shop.push(Thread())
    async with shop.open(Standalone, timeout=0.05, kill_grace=60) as worker:
        await until(lambda: worker._overrunning, "the overrun")
        state.thread_go.set()
        await until(lambda: not worker._overrunning, "its end")
        await shop.push(Quick())
        await until(lambda: len(seen) == 2, "the worker to reserve again")
    assert worker.exit_code == 0
