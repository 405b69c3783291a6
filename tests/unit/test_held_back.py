"""Workers of a queue that is paused or at its rate limit: they rest, and no lane starves."""

import asyncio
from types import SimpleNamespace

import pytest

from queued.daemon.worker.standalone import Standalone
from queued.drivers.base import Lane, RateLimit
from queued.jobs.job import Job
from tests.unit.test_worker import reasons, suspects
from tests.unit.working import QUEUE, Shop, observed, until

BRISK = RateLimit(every=0.02, burst=1)
NONE_LEFT = RateLimit(every=36_000.0, burst=1)
"""No token comes while a test runs."""

seen: list = []
state = SimpleNamespace()


@pytest.fixture(autouse=True)
async def fresh():
    seen.clear()
    state.go = asyncio.Event()
    yield
    state.go.set()
    await asyncio.sleep(0)


class Quick(Job):
    name = "test.held_quick"

    async def handle(self) -> None:
        seen.append(self.job_id)


class Waits(Job):
    name = "test.held_waits"

    async def handle(self) -> None:
        seen.append(self.job_id)
        await state.go.wait()


async def sweeps(worker, count: int = 10) -> None:
    """Let a worker live on for so many of its sweeps."""
    enough = observed(worker, "event_loop_lag_seconds") + count
    await until(lambda: observed(worker, "event_loop_lag_seconds") >= enough, "its sweeps")


async def spend(shop: Shop) -> None:
    """Take the one token of ``NONE_LEFT``."""
    [job_id] = await shop.push(Quick())
    held = await shop.driver.exchange(QUEUE, "spender", want=1, nonce=1, limit=NONE_LEFT)
    assert [job.id for job in held.jobs] == [job_id]


# paused


async def test_an_idle_worker_of_a_paused_queue_asks_once_per_sleep(shop):
    await shop.driver.pause(QUEUE)
    await shop.push(*[Quick() for _ in range(5)])
    async with shop.open(sleep=3600) as worker:
        await until(lambda: shop.driver.listens, "it to be idle")
        await shop.push(Quick(), delay=0.01)
        for _ in range(20):
            await shop.push(Quick())
        await sweeps(worker)
        await shop.driver.promote(QUEUE)
        await sweeps(worker)
        assert seen == []
        assert (len(shop.driver.exchanges), len(shop.driver.listens)) == (1, 1)
        await shop.driver.resume(QUEUE)
        await until(lambda: len(seen) == 26, "all of them")


async def test_what_runs_is_settled_while_its_queue_is_paused(shop):
    running = await shop.push(Waits(), Waits(), Waits())
    async with shop.open(sleep=3600, concurrency=3) as worker:
        await until(lambda: len(seen) == 3, "the runs")
        await shop.driver.pause(QUEUE)
        await shop.push(Quick(), delay=0.01)
        await shop.push(*[Quick() for _ in range(5)])
        state.go.set()
        await until(lambda: shop.board.settled == 3, "the settlements")
        before = len(shop.driver.exchanges) + len(shop.driver.listens)
        await sweeps(worker)
        assert len(shop.driver.exchanges) + len(shop.driver.listens) <= before + 2
        assert seen == running


async def test_a_solo_worker_of_a_paused_queue_leaves(shop):
    await suspects(shop, Quick())
    await shop.driver.pause(QUEUE)
    async with shop.open(lane=Lane.SOLO, concurrency=1, sleep=3600) as worker:
        assert await worker.over == 0
    assert (seen, reasons(shop)) == ([], ["empty"])


# at the limit


async def test_a_worker_at_the_limit_rests_until_the_next_token(shop):
    await spend(shop)
    await shop.push(*[Quick() for _ in range(5)])
    async with shop.open(sleep=3600, rate_limit=NONE_LEFT) as worker:
        await until(lambda: shop.driver.exchanges, "it to ask")
        for _ in range(20):
            await shop.push(Quick())
        await sweeps(worker)
        assert (len(shop.driver.exchanges), len(shop.driver.listens)) == (1, 0)
    assert seen == []


async def test_a_worker_at_the_limit_looks_when_there_is_a_token(shop):
    ids = await shop.push(*[Quick() for _ in range(20)])
    async with shop.open(sleep=3600, rate_limit=BRISK):
        await until(lambda: len(seen) == 20, "all of them")
    assert seen == ids
    # each has one that reserves it and one that settles it; a timer may come a little early
    assert len(shop.driver.exchanges) <= 4 * len(ids)


async def test_a_worker_at_the_limit_of_an_empty_queue_listens_as_soon_as_there_is_a_token(shop):
    async with shop.open(sleep=3600, rate_limit=BRISK) as worker:
        for number in range(1, 4):
            await shop.push(Quick())
            await until(lambda n=number: len(seen) == n, "the job")
            await until(lambda: worker._listener.pending, "it to listen")


async def test_a_solo_worker_at_the_limit_waits_for_tokens_and_ends(shop):
    ids = await suspects(shop, Quick(), Quick(), Quick())
    async with shop.open(lane=Lane.SOLO, concurrency=1, sleep=3600, rate_limit=BRISK) as worker:
        assert await worker.over == 0
    assert (seen, reasons(shop)) == (ids, ["empty"])
    assert len(shop.driver.exchanges) <= 4 * len(ids) + 1


async def test_a_solo_worker_at_the_limit_rests(shop):
    await suspects(shop, Quick())
    await spend(shop)
    async with shop.open(lane=Lane.SOLO, concurrency=1, sleep=3600, rate_limit=NONE_LEFT) as worker:
        await sweeps(worker)
        assert (len(shop.driver.exchanges), len(shop.driver.listens)) == (1, 0)
        assert not worker.over.done()
    assert seen == []


async def test_a_solo_worker_without_suspects_leaves_whatever_the_limit(shop):
    await spend(shop)
    async with shop.open(lane=Lane.SOLO, concurrency=1, sleep=3600, rate_limit=NONE_LEFT) as worker:
        assert await worker.over == 0
    assert reasons(shop) == ["empty"]


async def test_alone_it_gives_tokens_to_either_lane_in_turn(shop):
    alone = await suspects(shop, *[Quick() for _ in range(4)])
    others = await shop.push(*[Quick() for _ in range(8)])
    async with shop.open(Standalone, sleep=3600, rate_limit=BRISK):
        await until(lambda: len(seen) == 12, "all of them")
    assert [job_id for job_id in seen if job_id in alone] == alone
    assert [job_id for job_id in seen if job_id in others] == others
    assert {*alone} < {*seen[:9]}, "a suspect for every other token"
    assert len(shop.driver.exchanges) <= 4 * len(seen)


async def test_alone_with_suspects_at_the_limit_it_rests(shop):
    await suspects(shop, Quick(), Quick())
    await spend(shop)
    await shop.push(Quick())
    async with shop.open(Standalone, sleep=3600, rate_limit=NONE_LEFT) as worker:
        await until(lambda: worker._suspects, "it to know of them")
        await sweeps(worker)
        assert len(shop.driver.exchanges) == 1
    assert seen == []


async def test_alone_it_forgets_suspects_that_others_have_taken(shop):
    await spend(shop)
    [suspect] = await suspects(shop, Quick())
    async with shop.open(Standalone, sleep=0.01, rate_limit=NONE_LEFT):
        await until(lambda: shop.driver.exchanges[-1:] and _lane(shop) is Lane.SOLO, "its try")
        taken = await shop.driver.exchange(QUEUE, "other", want=1, nonce=1, lane=Lane.SOLO)
        assert [job.id for job in taken.jobs] == [suspect]
        await until(lambda: _lane(shop) is Lane.NORMAL, "it to ask for others again")


def _lane(shop: Shop) -> Lane:
    return shop.driver.exchanges[-1][3]
