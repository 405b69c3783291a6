"""The life of a worker: how it ends, what it hands back, what it tells its master."""

import asyncio
import contextlib
import resource

import pytest

from queued.daemon.worker.sweep import resident_memory
from queued.drivers.base import Charge, Counts, Lane, Retry
from queued.jobs.job import Job
from tests.unit.working import QUEUE, Shop, counted, fresh, seen, state, until, until_async

_fresh = pytest.fixture(autouse=True)(fresh)


class Quick(Job):
    name = "test.w_quick"

    async def handle(self) -> None:
        seen.append(self.job_id)


class Waits(Job):
    name = "test.w_waits"

    async def handle(self) -> None:
        seen.append(self.job_id)
        try:
            await state.go.wait()
        finally:
            seen.append("ended")


class Swallows(Job):
    name = "test.w_swallows"

    async def handle(self) -> None:
        seen.append(self.job_id)
        while not state.go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await state.go.wait()


class Thread(Job):
    name = "test.w_thread"

    def handle(self) -> None:
        seen.append(self.job_id)
        state.thread_go.wait(60)


def reasons(shop: Shop) -> list[str]:
    return [frame["reason"] for frame in shop.master.receive() if frame["type"] == "leaving"]


# draining


async def test_told_to_end_it_finishes_what_runs_and_starts_no_more(shop):
    await shop.push(Waits(), Waits())
    async with shop.open(concurrency=2) as worker:
        await until(lambda: len(seen) == 2, "the runs")
        [waiting] = await shop.push(Quick())
        worker.life.terminate()
        state.go.set()
        assert await worker.over == 0
    assert waiting not in seen
    assert (await shop.stats()).ready == 1
    assert (await shop.stats()).reserved == 0
    assert counted(worker, "attempts_total", outcome="succeeded") == 2
    assert reasons(shop) == ["drained"]


async def test_an_idle_worker_ends_at_once(shop):
    async with shop.open(sleep=3600) as worker:
        await until(lambda: shop.driver.listens, "the worker to be idle")
        worker.life.terminate()
        assert await worker.over == 0


@pytest.mark.parametrize("job", [Waits(), Swallows(), Thread()], ids=["async", "stubborn", "plain"])
async def test_what_outlives_the_grace_is_handed_back_uncharged(shop, job):
    [job_id] = await shop.push(job)
    [other] = await shop.push(Quick(), delay=3600)
    async with shop.open(shutdown_grace=0.05) as worker:
        await until(lambda: seen, "the run")
        worker.life.terminate()
        assert await worker.over == 0
    info = await shop.driver.find(job_id)
    assert info.counts == Counts(releases=1)
    assert info.counts.tries == 0
    assert info.ready_at is not None
    assert b'"outcome":"released"' in info.history
    assert counted(worker, "attempts_total", outcome="released") == 1
    assert other not in seen


async def test_a_job_that_swallows_the_last_cancellation_is_not_taken_for_done(shop):
    class Half(Job):
        name = "test.w_half"

        async def handle(self) -> None:
            seen.append(1)
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                seen.append(2)

    [job_id] = await shop.push(Half())
    async with shop.open() as worker:
        await until(lambda: seen, "the run")
        worker.life.quit()
        await worker.over
    assert seen == [1, 2]
    assert (await shop.driver.find(job_id)).counts == Counts(releases=1)


async def test_the_second_signal_ends_it_at_once(shop):
    [job_id] = await shop.push(Waits())
    async with shop.open(shutdown_grace=3600) as worker:
        await until(lambda: seen, "the run")
        worker.life.terminate()
        worker.life.terminate()
        assert await worker.over == 0
    assert seen == [job_id, "ended"]
    assert (await shop.driver.find(job_id)).counts == Counts(releases=1)


async def test_jobs_handed_back_are_the_next_to_run(shop):
    ids = await shop.push(Waits(), Waits())
    [later] = await shop.push(Quick())
    async with shop.open(concurrency=2) as worker:
        await until(lambda: len(seen) == 2, "the runs")
        worker.life.quit()
        await worker.over
    answer = await shop.driver.exchange(QUEUE, "next", want=3)
    assert [job.id for job in answer.jobs][2] == later
    assert {job.id for job in answer.jobs[:2]} == set(ids)


async def test_a_job_that_was_late_when_all_was_handed_back_is_charged(shop):
    [job_id] = await shop.push(Swallows())
    async with shop.open(timeout=0.05) as worker:
        await until(lambda: worker._overrunning, "the overrun")
        worker.life.quit()
        await worker.over
    assert (await shop.driver.find(job_id)).counts == Counts(timeouts=1)


async def test_without_a_backend_it_ends_all_the_same(shop):
    await shop.push(Waits())
    async with shop.open() as worker:
        await until(lambda: seen, "the run")
        shop.driver.down = True
        worker.life.quit()
        assert await worker.over == 0
    assert (await shop.stats()).reserved == 1  # reclaimed from it, or when its lease runs out
    assert len(shop.board.read()) == 1


async def test_a_backend_that_never_answers_does_not_hold_it(shop):
    await shop.push(Quick())
    async with shop.open() as worker:
        shop.driver.gate.clear()
        await until(lambda: shop.driver.exchanges, "an exchange")
        await shop.push(Quick())
        worker.life.quit()
        assert await worker.over == 0


async def test_quiet_it_goes_on_with_what_runs_and_starts_no_more(shop):
    await shop.push(Waits())
    async with shop.open() as worker:
        await until(lambda: seen, "the run")
        shop.master.send({"type": "quiet"})
        await until(lambda: worker.life.phase, "the phase")
        await shop.push(Quick())
        state.go.set()
        await until(lambda: shop.board.settled == 1, "the settlement")
        assert not worker.over.done()
        assert (await shop.stats()).ready == 1


async def test_its_masters_end_is_its_own(shop):
    [job_id] = await shop.push(Waits())
    async with shop.open() as worker:
        await until(lambda: seen, "the run")
        shop.master.close()
        assert await worker.over == 0
    assert worker.life.reason == "orphaned"
    assert (await shop.driver.find(job_id)).counts == Counts(releases=1)


# limits


async def test_it_runs_no_more_than_max_jobs(shop):
    await shop.push(*[Quick() for _ in range(10)])
    async with shop.open(max_jobs=3, concurrency=10) as worker:
        assert await worker.over == 0
    assert len(seen) == 3
    assert (await shop.stats()).ready == 7
    assert {want for _, _, want, _ in shop.driver.exchanges} == {3, 0}
    assert reasons(shop) == ["max_jobs"]


async def test_max_jobs_counts_attempts(shop):
    class Fails(Job):
        name = "test.w_fails"

        async def handle(self) -> None:
            seen.append(self.attempts)
            raise ValueError("x")

    await shop.push(Fails())
    async with shop.open(max_jobs=2, retry_after=0, max_tries=5) as worker:
        await worker.over
    assert seen == [1, 2]


async def test_max_time_replaces_it_between_jobs(shop):
    [job_id] = await shop.push(Waits())
    async with shop.open(max_time=0.05) as worker:
        await until(lambda: worker.life.ending, "the time to be up")
        assert not worker.over.done()
        state.go.set()
        await worker.over
    assert worker.life.reason == "max_time"
    assert await shop.driver.find(job_id) is None


async def test_max_memory_replaces_it_between_jobs(shop):
    async with shop.open(max_memory=1) as worker:
        assert await worker.over == 0
    assert worker.life.reason == "max_memory"


def test_memory_that_cannot_be_told_is_none():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        assert resident_memory() == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert resident_memory() > 0


async def test_it_leaves_no_sooner_than_a_limit(shop):
    async with shop.open(max_memory=1 << 40, max_time=3600) as worker:
        await until(lambda: worker._next_second > worker._begun + 1.5, "two looks")
        assert not worker.life.ending


# the solo lane


async def suspects(shop: Shop, *jobs: Job) -> list[str]:
    """Enqueue jobs that must run alone, as after two crashes beside others."""
    ids = await shop.push(*jobs)
    answer = await shop.driver.exchange(QUEUE, "dead", want=len(ids))
    await shop.driver.exchange(
        QUEUE, "dead", [Retry(job.id, job.fence, 0, Charge.CRASH) for job in answer.jobs]
    )
    return ids


async def test_a_solo_worker_runs_suspects_one_by_one_and_ends(shop):
    ids = await suspects(shop, Quick(), Quick(), Quick())
    [normal] = await shop.push(Quick())
    async with shop.open(lane=Lane.SOLO, concurrency=1) as worker:
        assert await worker.over == 0
    assert seen == ids
    assert normal not in seen
    assert reasons(shop) == ["empty"]
    assert {want for _, _, want, _ in shop.driver.exchanges} == {1}


async def test_a_normal_worker_leaves_suspects_alone(shop):
    ids = await suspects(shop, Quick())
    [normal] = await shop.push(Quick())
    async with shop.open():
        await until(lambda: seen, "the normal one")
    assert seen == [normal]
    assert (await shop.driver.find(ids[0])).ready_at


# what it tells


async def test_its_last_snapshot_has_everything(shop):
    await shop.push(*[Quick() for _ in range(20)])
    await shop.clear()
    frames = shop.master.receive()
    assert frames[0] == {"type": "ready"}
    assert frames[-1] == {"type": "leaving", "reason": "drained"}
    snapshots = [frame for frame in frames if frame["type"] == "snapshot"]
    assert [frame["seq"] for frame in snapshots] == list(range(1, len(snapshots) + 1))
    data = snapshots[-1]["data"]
    attempts = {
        (labels["job_class"], labels["outcome"]): value
        for labels, value in data["counters"]["attempts_total"]
    }
    assert attempts["test.w_quick", "succeeded"] == 20
    assert data["gauges"]["jobs_in_flight"] == [[{"queue": QUEUE}, 0]]
    names = data["histograms"].keys()
    assert {"job_wait_seconds", "job_run_seconds", "job_end_to_end_seconds"} <= names
    assert {"event_loop_lag_seconds", "driver_operation_seconds"} <= names


async def test_what_runs_is_in_flight_and_keeps_its_slot_busy(shop):
    await shop.push(Waits(), Waits())
    async with shop.open() as worker:
        await until(lambda: len(seen) == 2, "the runs")
        await until(lambda: counted(worker, "worker_busy_seconds_total") > 0, "a snapshot")
        busy = counted(worker, "worker_busy_seconds_total")
        await until(lambda: counted(worker, "worker_busy_seconds_total") > busy, "the next")
        gauge = worker.metrics.snapshot()["gauges"]["jobs_in_flight"]
        assert gauge == [[{"queue": QUEUE}, 2]]
        state.go.set()


async def test_a_master_that_does_not_read_costs_it_nothing(shop):
    async with shop.open(sleep=3600) as worker:
        for _ in range(3000):
            worker._link.report(worker.metrics)
        await shop.push(Quick())
        await until(lambda: seen, "the job")


async def test_its_heart_beats(shop):
    async with shop.open(sleep=3600):
        first = await until(lambda: shop.board.heartbeat, "a beat")
        await until(lambda: shop.board.heartbeat > first, "another")


async def test_a_fault_of_ours_is_no_planned_end(shop):
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("ours")

    shop.driver.exchange = broken
    worker = shop.worker()
    with pytest.raises(RuntimeError, match="ours"):
        await worker.run()


async def test_a_fault_in_the_sweep_is_not_swallowed(shop):
    worker = shop.worker()

    def broken(now: float) -> None:
        raise RuntimeError(f"ours {now}")

    worker._check_limits = broken
    with pytest.raises(RuntimeError, match="ours"):
        await worker.run()


async def test_nothing_is_left_behind(shop):
    before = asyncio.all_tasks()
    await shop.push(*[Quick() for _ in range(20)])
    await shop.clear()
    await until_async(no_more_tasks(before), "all tasks to be gone")


def no_more_tasks(before: set):
    async def check() -> bool:
        return asyncio.all_tasks() <= before

    return check
