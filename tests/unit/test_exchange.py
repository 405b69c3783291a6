"""The worker and its back-end: what is asked, how often, and what an outage costs."""

import asyncio
import time
from types import SimpleNamespace

import pytest
import structlog

from queued.daemon.worker.exchange import Answer
from queued.drivers.base import Charge, Counts, Exchange, Lane, Release
from queued.errors import DriverUnavailable
from queued.jobs.job import Job
from tests.unit.working import QUEUE, Shop, counted, observed, until, until_async

seen: list = []
state = SimpleNamespace()


@pytest.fixture(autouse=True)
def fresh():
    seen.clear()
    state.go = asyncio.Event()
    state.go_too = asyncio.Event()


class Quick(Job):
    name = "test.x_quick"

    async def handle(self) -> None:
        seen.append(self.job_id)


class Waits(Job):
    name = "test.x_waits"

    async def handle(self) -> None:
        seen.append(self.job_id)
        await state.go.wait()


class WaitsToo(Job):
    name = "test.x_waits_too"

    async def handle(self) -> None:
        seen.append(self.job_id)
        await state.go_too.wait()


async def test_one_exchange_settles_what_ended_and_reserves_what_fits(shop):
    await shop.push(*[Quick() for _ in range(100)])
    await shop.clear(concurrency=10)
    assert len(seen) == 100
    settled = [settlements for _, settlements, _, _ in shop.driver.exchanges]
    assert sum(settled) == 100
    assert len(shop.driver.exchanges) <= 15  # ten each, and none for a single job
    wants = {want for _, _, want, _ in shop.driver.exchanges}
    assert wants <= {10, 0, 1}  # the last one asks what its listen may have reserved


async def test_what_ends_during_an_exchange_goes_with_the_next(shop):
    await shop.push(Waits(), Waits(), WaitsToo())
    async with shop.open(sleep=3600, polling=True):
        await until(lambda: len(seen) == 3, "the runs")
        shop.driver.gate.clear()
        before = len(shop.driver.exchanges)
        state.go_too.set()
        await until(lambda: len(shop.driver.exchanges) == before + 1, "the exchange")
        state.go.set()
        await asyncio.sleep(0.05)
        assert len(shop.driver.exchanges) == before + 1  # one in flight
        shop.driver.gate.set()
        await until(lambda: shop.board.settled == 3, "all settlements")
        assert [call[1] for call in shop.driver.exchanges[before:]] == [1, 2]


async def test_nonces_rise_with_each_call_that_reserves(shop):
    await shop.push(*[Quick() for _ in range(30)])
    await shop.clear(concurrency=3)
    assert all(bool(nonce) == bool(want) for nonce, _, want, _ in shop.driver.exchanges)
    nonces = [nonce for nonce, _, _, _ in shop.driver.exchanges if nonce]
    assert nonces == list(range(1, len(nonces) + 1))


async def test_a_lost_answer_costs_no_job_and_runs_none_twice(shop):
    ids = await shop.push(*[Quick() for _ in range(20)])
    shop.driver.lose_answers = 3
    worker = await shop.clear(concurrency=5)
    assert sorted(seen) == sorted(ids)
    assert (await shop.stats()).failed == 0
    assert counted(worker, "stale_acks_total") == 0
    assert counted(worker, "driver_errors_total", kind="unavailable") == 3
    nonces = [nonce for nonce, _, _, _ in shop.driver.exchanges]
    assert nonces[:4] == [1, 1, 1, 1]  # the first was repeated as it was


async def test_the_answer_to_a_settlement_is_lost_and_it_is_said_again(shop):
    [job_id] = await shop.push(Waits())
    async with shop.open(sleep=3600) as worker:
        await until(lambda: seen, "the run")
        shop.driver.lose_answers = 2
        state.go.set()
        await until(lambda: shop.driver.lose_answers == 0, "both losses")
        await until_async(lambda: gone(shop, job_id), "the settlement")
        await until(lambda: not worker._exchanger.outbox, "the acknowledgement")
    assert seen == [job_id]
    assert counted(worker, "stale_acks_total") == 0


async def test_a_lost_answer_costs_no_slot(shop):
    await shop.push(*[Quick() for _ in range(9)])
    async with shop.open(concurrency=1):
        for number in range(1, 9):
            await until(lambda n=number: len(seen) >= n, "a job")
            shop.driver.lose_answers = 1
        await until(lambda: len(seen) == 9, "the last job")
    assert len(set(seen)) == 9


async def gone(shop: Shop, job_id: str) -> bool:
    return await shop.driver.find(job_id) is None


async def test_settlements_are_kept_while_the_backend_is_away(shop):
    ids = await shop.push(*[Waits() for _ in range(5)])
    async with shop.open() as worker:
        await until(lambda: len(seen) == 5, "the runs")
        shop.driver.down = True
        state.go.set()
        tries = len(shop.driver.exchanges)
        await until(lambda: len(shop.driver.exchanges) > tries + 2, "some tries")
        assert (await shop.stats()).reserved == 5
        shop.driver.down = False
        await until_async(lambda: all_gone(shop, ids), "the settlements")
    assert counted(worker, "attempts_total", outcome="succeeded") == 5
    assert len(seen) == 5


async def all_gone(shop: Shop, ids: list[str]) -> bool:
    return all([await gone(shop, one) for one in ids])


async def test_a_worker_waits_for_its_backend_at_the_start(shop):
    [job_id] = await shop.push(Quick())
    shop.driver.down = True
    with structlog.testing.capture_logs() as lines:
        async with shop.open() as worker:
            frames = await until(shop.master.receive, "a word to the master")
            assert frames[0] == {"type": "ready"}
            await until(lambda: counted(worker, "driver_errors_total") > 2, "some tries")
            shop.driver.down = False
            await until(lambda: seen == [job_id], "the job")
    events = [line["event"] for line in lines if line["log_level"] != "debug"]
    assert events == ["backend.unreachable", "backend.reachable"]


async def test_a_worker_without_a_backend_can_be_told_to_end(shop):
    shop.driver.down = True
    async with shop.open() as worker:
        await until(lambda: counted(worker, "driver_errors_total") > 0, "a try")
        worker.life.terminate()
        await worker.over
    assert worker.exit_code == 0


async def test_a_stale_settlement_is_counted_and_said(shop):
    [job_id] = await shop.push(Waits())
    async with shop.open(concurrency=1) as worker:
        await until(lambda: seen, "the run")
        [held] = await shop.driver.retire(QUEUE, worker.spec.owner)
        await shop.driver.exchange(QUEUE, worker.spec.owner, [Release(held.id, held.fence)])
        with structlog.testing.capture_logs() as lines:
            state.go.set()
            await worker.over
    assert counted(worker, "stale_acks_total", queue=QUEUE) == 1
    [line] = [line for line in lines if line["event"] == "settlement.lost"]
    assert line["job_id"] == job_id


async def test_a_retired_owner_ends_and_lets_go_of_everything(shop):
    [job_id, _] = await shop.push(Waits(), Quick())
    async with shop.open(sleep=3600) as worker:
        await until(lambda: len(seen) == 2, "the runs")
        await until(lambda: shop.board.settled == 1, "the settlement of the quick one")
        [held] = await shop.driver.retire(QUEUE, worker.spec.owner)
        await shop.driver.exchange(
            QUEUE, worker.spec.owner, [Release(held.id, held.fence, Charge.LOST)]
        )
        await shop.push(Quick())  # it tries to reserve
        assert await worker.over == 0
    assert worker.life.reason == "owner_lost"
    assert (await shop.driver.find(job_id)).counts == Counts(lost=1, suspicion=1)
    assert [frame["reason"] for frame in shop.master.receive() if frame["type"] == "leaving"] == [
        "owner_lost"
    ]


async def test_a_worker_whose_lease_is_gone_finds_out_by_renewing(shop):
    async with shop.open(sleep=3600) as worker:
        await until(lambda: shop.driver.listens, "the worker to be idle")
        await shop.driver.retire(QUEUE, worker.spec.owner)
        await worker._renew()
        assert await worker.over == 0
    assert worker.life.reason == "owner_lost"


# waiting


async def test_a_push_wakes_an_idle_worker(shop):
    async with shop.open(sleep=3600):
        for number in range(1, 6):
            await until(lambda: shop.driver.listens, "the worker to be idle")
            await shop.push(Quick())
            await until(lambda n=number: len(seen) == n, "the job")


async def test_a_job_that_becomes_due_is_run_without_anyone_telling(shop):
    await shop.push(Quick(), delay=0.1)
    async with shop.open(sleep=3600):
        await until(lambda: seen, "the job")


async def test_a_retry_with_a_delay_needs_no_monitor(shop):
    class Twice(Job):
        name = "test.x_twice"

        async def handle(self) -> None:
            seen.append(self.attempts)
            if self.attempts == 1:
                raise ValueError("first")

    await shop.push(Twice())
    async with shop.open(sleep=3600, retry_after=0.1):
        await until(lambda: seen == [1, 2], "both runs")


async def test_polling_waits_for_no_push(shop):
    async with shop.open(sleep=0.05, polling=True):
        await until(lambda: len(shop.driver.exchanges) > 2, "some polls")
        await shop.push(Quick())
        await until(lambda: seen, "the job")
    assert shop.driver.listens == []


@pytest.mark.parametrize("polling", [True, False])
async def test_a_sleep_of_zero_does_not_spin(shop, polling):
    async with shop.open(sleep=0, polling=polling) as worker:
        await until(lambda: observed(worker, "event_loop_lag_seconds") > 20, "twenty sweeps")
        sweeps = observed(worker, "event_loop_lag_seconds")
        assert len(shop.driver.exchanges) <= 1.5 * sweeps
        assert len(shop.driver.listens) <= 1.5 * sweeps


async def test_an_idle_worker_asks_once_per_sleep(shop):
    async with shop.open(sleep=3600) as worker:
        await until(lambda: observed(worker, "event_loop_lag_seconds") > 10, "ten sweeps")
        assert len(shop.driver.exchanges) == 1
        assert len(shop.driver.listens) == 1


async def test_a_full_worker_listens_to_no_push(shop):
    async with shop.open(sleep=3600, concurrency=1):
        await until(lambda: shop.driver.listens, "the worker to be idle")
        await shop.push(Waits())
        await until(lambda: seen, "the run")
        [job_id] = await shop.push(Quick())
        second = await shop.driver.listen(QUEUE, "second", seconds=60, want=1, nonce=1)
        assert [job.id for job in second.jobs] == [job_id]
        assert len(shop.driver.listens) == 2


async def test_beside_a_listen_exchanges_settle_only_and_leave_it_alone(shop):
    await shop.push(Waits(), WaitsToo())
    async with shop.open(sleep=3600, concurrency=10) as worker:
        await until(lambda: len(seen) == 2, "both to run")
        for chore in worker._chores:  # a look for ghosts may have cut a listen short
            chore.cancel()
        await until(
            lambda: worker._listener.pending and worker._look_at > time.monotonic(), "it to listen"
        )
        listening, before = len(shop.driver.listens), len(shop.driver.exchanges)
        state.go.set()
        await until(lambda: shop.board.settled == 1, "the settlement")
        assert shop.driver.exchanges[before:] == [(0, 1, 0, Lane.NORMAL)]
        assert len(shop.driver.listens) == listening
        state.go_too.set()
        [job_id] = await shop.push(Quick())
        await until(lambda: job_id in seen, "the job that it heard of")


async def test_a_run_that_ends_with_an_empty_answer_is_settled_at_once(shop):
    """One wake-up tells of both: whoever sees to the answer alone sleeps for an hour then."""
    await shop.push(Waits())
    async with shop.open(sleep=3600, concurrency=10) as worker:
        await until(lambda: seen and worker._listener.pending, "it to listen beside the run")
        worker._listener.stop()
        worker._exchanger.answered = worker._exchanger.nonce
        worker._listener._answer = Answer(Exchange([], []), 1, Lane.NORMAL, [], frozenset())
        state.go.set()
        await until(lambda: shop.board.settled == 1, "the settlement")


async def test_beside_jobs_that_run_it_listens_for_one(shop):
    """One of them may block the loop, and what is reserved then waits for it."""
    async with shop.open(sleep=3600, concurrency=10) as worker:
        await until(lambda: shop.driver.listens, "the worker to be idle")
        await shop.push(Waits())
        await until(lambda: seen and worker._listener.pending, "it to listen beside the run")
        assert [want for _, want, _ in shop.driver.listens] == [10, 1]
        await shop.push(*[Quick() for _ in range(20)])
        await until(lambda: len(seen) == 21, "all jobs")


async def test_a_listen_whose_answer_is_lost_is_asked_again_by_its_nonce(shop):
    async with shop.open(sleep=3600) as worker:
        await until(lambda: shop.driver.listens, "the worker to be idle")
        shop.driver.lose_answers = 2
        ids = await shop.push(Quick(), Quick(), Quick())
        await until(lambda: len(seen) == 3, "the jobs")
        [(nonce, _, _)] = shop.driver.listens[:1]
        assert [call[0] for call in shop.driver.exchanges[1:4]] == [nonce] * 3
    assert sorted(seen) == sorted(ids)
    assert counted(worker, "stale_acks_total") == 0


async def test_what_a_listen_reserved_for_a_worker_that_leaves_is_handed_back(shop):
    async with shop.open(sleep=3600) as worker:
        await until(lambda: shop.driver.listens, "the worker to be idle")
        shop.driver.gate.clear()
        ids = await shop.push(Quick(), Quick())
        await until_async(lambda: reserved(shop, 2), "the reservation")
        worker.life.terminate()
        await asyncio.sleep(0)
        shop.driver.gate.set()
        assert await worker.over == 0
    assert seen == []
    for job_id in ids:
        info = await shop.driver.find(job_id)
        assert info.counts == Counts()
        assert info.ready_at


async def reserved(shop: Shop, count: int) -> bool:
    return (await shop.stats()).reserved == count


async def test_an_idle_worker_leaves_at_once_while_its_backend_is_away(shop):
    async with shop.open(sleep=3600, shutdown_grace=3600) as worker:
        await until(lambda: shop.driver.listens, "the worker to be idle")
        shop.driver.down = True
        worker.life.terminate()
        assert await worker.over == 0


@pytest.mark.parametrize("error", [DriverUnavailable("the line is cut"), OSError("no more files")])
async def test_waiting_that_fails_leaves_polling_and_is_tried_again(shop, error):
    async def fails(*_: object, nonce: int, want: int, lane: Lane, **__: object) -> None:
        shop.driver.listens.append((nonce, want, lane))
        raise error

    works, shop.driver.listen = shop.driver.listen, fails
    with structlog.testing.capture_logs() as lines:
        async with shop.open(sleep=0.05) as worker:
            await shop.push(Quick())
            await until(lambda: seen, "the job")
            await until(lambda: observed(worker, "event_loop_lag_seconds") > 10, "ten sweeps")
            assert 1 < len(shop.driver.listens) <= 1.5 * observed(worker, "event_loop_lag_seconds")
            shop.driver.listen = works
            await until(lambda: len(shop.driver.listens) > 12, "it to wait again")
    said = [line for line in lines if line["event"] == "listener.failed"]
    assert len(said) == isinstance(error, OSError)


async def test_an_answer_that_comes_too_late_is_handed_back_unstarted(shop):
    ids = await shop.push(Quick(), Quick())
    shop.driver.gate.clear()
    async with shop.open() as worker:
        await until(lambda: shop.driver.exchanges, "the reservation")
        worker.life.terminate()
        shop.driver.gate.set()
        await worker.over
    assert seen == []
    for job_id in ids:
        info = await shop.driver.find(job_id)
        assert info.counts == Counts()
        assert info.ready_at


async def test_lanes_are_asked_for_by_name(shop):
    async with shop.open(sleep=3600):
        await until(lambda: shop.driver.exchanges, "an exchange")
    assert {lane for _, _, _, lane in shop.driver.exchanges} == {Lane.NORMAL}


async def test_a_settlement_is_sent_although_no_slot_is_wanted(shop):
    await shop.push(Quick())
    worker = await shop.clear(max_jobs=1)
    assert worker.life.reason == "max_jobs"
    assert (await shop.stats()).reserved == 0
    assert shop.driver.exchanges[-1][2] == 0
