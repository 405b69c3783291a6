"""``failed()``: after the failure is stored, once, in time, and whatever it does."""

import asyncio
import functools
import json
import threading

import pytest
import structlog

from queued.daemon.worker import hooks
from queued.daemon.worker.hooks import Hooks
from queued.daemon.worker.worker import Worker
from queued.drivers.base import Charge, Fail
from queued.errors import JobCrashed, JobTimeout
from queued.jobs import outcome, records
from queued.jobs.job import Job
from tests.unit.working import QUEUE, Shop, fresh, seen, state, until, until_async

_fresh = pytest.fixture(autouse=True)(fresh)


class Hooked(Job):
    name = "test.hooked"
    kind: str = "error"

    async def handle(self) -> None:
        if self.kind == "exit":
            raise SystemExit(3)
        if self.kind == "slow":
            await asyncio.sleep(3600)
        raise ValueError("wrong")

    async def failed(self, exception: Exception) -> None:
        info = await state.shop.driver.find(self.job_id)
        seen.append((self.job_id, self.attempts, exception, info.failed))


class PlainHook(Hooked):
    name = "test.plain_hook"

    def failed(self, exception: Exception) -> None:
        seen.append((threading.current_thread().name, exception))
        context = structlog.contextvars.get_contextvars()
        seen.append(context)


class Broken(Hooked):
    name = "test.broken"

    async def failed(self, exception: Exception) -> None:
        seen.append(exception)
        raise SystemExit(9)


class Hangs(Hooked):
    name = "test.hangs"

    async def failed(self, exception: Exception) -> None:
        seen.append(exception)
        await state.go.wait()


class PlainHangs(Hooked):
    name = "test.plain_hangs"

    def failed(self, exception: Exception) -> None:
        seen.append(exception)
        state.thread_go.wait(60)


class Hookless(Job):
    name = "test.hookless"

    async def handle(self) -> None:
        raise ValueError("wrong")


class Quick(Job):
    name = "test.h_quick"

    async def handle(self) -> None:
        seen.append("quick")


def impatient(spec, driver) -> Worker:
    """Make a worker whose hooks have next to no time."""
    worker = Worker(spec, driver)
    worker._hooks = Hooks(worker._backend, worker._threads, worker._hook_ended, limit=0.05)
    return worker


async def pending(shop: Shop) -> list[bool]:
    return [failed.hook_pending for failed in await shop.driver.failed(QUEUE)]


async def is_finished(shop: Shop) -> bool:
    return await pending(shop) == [False]


async def test_the_hook_runs_once_after_the_failure_is_stored(shop):
    state.shop = shop
    [job_id] = await shop.push(Hooked())
    async with shop.open(max_tries=2, retry_after=0):
        await until_async(lambda: is_finished(shop), "the hook")
    [(seen_id, attempts, error, failed)] = seen
    assert seen_id == job_id
    assert attempts == 2
    assert isinstance(error, ValueError)
    assert failed.hook_pending
    assert json.loads(failed.record)["error"] == "ValueError: wrong"


async def test_a_plain_hook_runs_in_a_thread_and_in_the_jobs_context(shop):
    [job_id] = await shop.push(PlainHook())
    async with shop.open(max_tries=1):
        await until_async(lambda: is_finished(shop), "the hook")
    (thread, error), context = seen
    assert thread.startswith("job")
    assert isinstance(error, ValueError)
    assert context["job_id"] == job_id
    assert context["job"] == "test.plain_hook"


async def test_the_hook_gets_a_timeout_as_what_it_is(shop):
    state.shop = shop
    await shop.push(Hooked(kind="slow"))
    async with shop.open(max_tries=1, timeout=0.05):
        await until_async(lambda: is_finished(shop), "the hook")
    assert isinstance(seen[0][2], JobTimeout)


async def test_the_hook_always_gets_an_exception(shop):
    state.shop = shop
    await shop.push(Hooked(kind="exit"))
    async with shop.open(max_tries=1):
        await until_async(lambda: is_finished(shop), "the hook")
    assert isinstance(seen[0][2], outcome.Fail)
    assert "SystemExit" in str(seen[0][2])


@pytest.mark.fault(42)
async def test_a_hook_that_raises_is_said_and_done(shop):
    await shop.push(Broken(), Quick())
    with structlog.testing.capture_logs() as lines:
        async with shop.open(max_tries=1) as worker:
            await until_async(lambda: is_finished(shop), "the hook")
            await until(lambda: "quick" in seen, "the worker to live on")
        assert worker.exit_code == 0
    [line] = [line for line in lines if line["event"] == "hook.failed"]
    assert line["error"] == "SystemExit: 9"
    assert "Traceback" in line["exception"]


@pytest.mark.fault(42)
async def test_a_hook_that_hangs_has_its_time_and_is_done(shop):
    await shop.push(Hangs(), Quick())
    with structlog.testing.capture_logs() as lines:
        async with shop.open(impatient, max_tries=1) as worker:
            await until_async(lambda: is_finished(shop), "the hook to be over")
            await until(lambda: "quick" in seen, "the worker to live on")
            await until(lambda: worker._hooks.active == 0, "its slot")
            assert not worker.life.ending
    assert [line["event"] for line in lines if line["event"].startswith("hook")] == [
        "hook.timed_out"
    ]


@pytest.mark.fault(42)
async def test_a_worker_with_a_hook_that_never_ends_is_replaced(shop):
    await shop.push(PlainHangs())
    async with shop.open(impatient, max_tries=1) as worker:
        assert await worker.over == 0
    assert worker.life.reason == "stuck_hook"
    assert await pending(shop) == [False]


async def test_a_class_without_a_hook_has_none_pending(shop):
    await shop.push(Hookless())
    async with shop.open(max_tries=1):
        await until_async(lambda: is_finished(shop), "the failure")


async def test_a_hook_occupies_a_slot(shop):
    await shop.push(Hangs())
    async with shop.open(max_tries=1, concurrency=1) as worker:
        await until(lambda: len(seen) == 1, "the hook")
        await shop.push(Quick())
        assert worker._wanted()[0] == 0
        state.go.set()
        await until(lambda: "quick" in seen, "the next job")


async def test_a_draining_worker_waits_for_its_hooks(shop):
    await shop.push(Hangs())
    async with shop.open(max_tries=1) as worker:
        await until(lambda: seen, "the hook")
        worker.life.terminate()
        await asyncio.sleep(0.05)
        assert not worker.over.done()
        state.go.set()
        await worker.over
    assert await pending(shop) == [False]


async def test_a_worker_that_must_end_leaves_its_hooks_to_others(shop):
    await shop.push(Hangs())
    async with shop.open(max_tries=1) as worker:
        await until(lambda: seen, "the hook")
        worker.life.quit()
        await worker.over
    assert await pending(shop) == [True]


# hooks that nobody ran


async def fail(shop: Shop, payload_of: Job, reason: str, kind: str) -> str:
    """Have a job failed by a janitor, whose hook is then any worker's to run."""
    [job_id] = await shop.push(payload_of)
    answer = await shop.driver.exchange(QUEUE, "dead", want=1)
    record = records.record(
        error="gone", kind=kind, trace="", at=0.0, worker="w", job="j", reason=reason
    )
    settlement = Fail(job_id, answer.jobs[0].fence, Charge.CRASH, record, hook=0)
    await shop.driver.exchange(QUEUE, "dead", [settlement])
    return job_id


async def test_a_crashed_jobs_hook_is_run_by_another_worker(shop):
    state.shop = shop
    job_id = await fail(shop, Hooked(), "crashed", "queued.errors.JobCrashed")
    async with shop.open():
        await until_async(lambda: is_finished(shop), "the hook")
    [(seen_id, attempts, error, _)] = seen
    assert seen_id == job_id
    assert attempts == 1
    assert type(error) is JobCrashed
    assert str(error) == "gone"


async def test_no_class_is_looked_up_by_what_a_record_says(shop):
    state.shop = shop
    await fail(shop, Hooked(), "max_tries", "builtins.KeyboardInterrupt")
    async with shop.open():
        await until_async(lambda: is_finished(shop), "the hook")
    assert type(seen[0][2]) is outcome.Fail


async def test_several_hooks_are_run_one_after_the_other(shop):
    state.shop = shop
    for _ in range(5):
        await fail(shop, Hooked(), "crashed", "x")
    async with shop.open(sleep=3600):
        await until_async(functools.partial(none_pending, shop), "the hooks")
    assert len(seen) == 5


async def none_pending(shop: Shop) -> bool:
    return not any(await pending(shop))


async def test_a_hook_of_a_class_that_is_not_here_waits_for_newer_code_and_is_given_up(
    shop, monkeypatch
):
    class Gone(Hooked):
        name = "test.gone"

    payload = await fail(shop, Gone(), "crashed", "x")
    from queued.jobs import registry

    del registry._classes["test.gone"]

    def said(event: str) -> list[dict]:
        return [line for line in lines if line["event"] == event]

    monkeypatch.setattr(hooks, "CLAIM", 0.0)  # it is due again at once
    with structlog.testing.capture_logs() as lines:
        async with shop.open(sleep=0.05):
            await until(lambda: said("hook.impossible"), "a word")
            claims = shop.driver.claims
            await until(lambda: shop.driver.claims > claims + 3, "it to be claimed again")
            assert await pending(shop) == [True]
            assert len(said("hook.impossible")) == 1
            monkeypatch.setattr(hooks, "WAIT_FOR_CODE", 0.0)
            await until_async(lambda: is_finished(shop), "it to be given up")
    [line] = said("hook.given_up")
    assert "test.gone" in line["error"]
    assert payload


async def test_a_hook_is_not_lost_with_the_backend(shop):
    await shop.push(Hangs())
    async with shop.open(max_tries=1):
        await until(lambda: seen, "the hook")
        original, shop.driver.finish_hook = shop.driver.finish_hook, None

        tries = []

        async def fails(queue: str, job_id: str, record: bytes) -> None:
            tries.append(job_id)
            if len(tries) < 3:
                shop.driver.down = True
                try:
                    shop.driver.check()
                finally:
                    shop.driver.down = False
            await original(queue, job_id, record)

        shop.driver.finish_hook = fails
        state.go.set()
        await until_async(lambda: is_finished(shop), "the hook to be noted")
    assert len(tries) == 3
