"""What a worker holds by the back-end's word alone goes back to the queue."""

import asyncio
from types import SimpleNamespace

import pytest

from queued.daemon.worker import standalone, worker
from queued.daemon.worker.standalone import Standalone
from queued.daemon.worker.worker import Worker
from queued.drivers.base import Ack
from queued.jobs.job import Job
from tests.unit.working import QUEUE, Backend, until

seen: list = []
state = SimpleNamespace()


class Once(Job):
    name = "test.ghost"

    async def handle(self) -> None:
        seen.append(self.job_id)


class Waits(Job):
    name = "test.no_ghost"

    async def handle(self) -> None:
        seen.append(self.job_id)
        await state.go.wait()


class Forgetful(Backend):
    """Acknowledges settlements and forgets them, as a server does that loses power after it."""

    forgets = 0

    async def exchange(self, queue, owner, settlements=(), **values):
        acks = [one for one in settlements if isinstance(one, Ack)]
        if self.forgets and acks:
            self.forgets -= len(acks)
            settlements = [one for one in settlements if not isinstance(one, Ack)]
        return await super().exchange(queue, owner, settlements, **values)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    seen.clear()
    state.go = asyncio.Event()
    for module in (worker, standalone):
        monkeypatch.setattr(module, "LOOK_EVERY", 0.01)


@pytest.fixture
def shop(shop):
    shop.driver = Forgetful()
    return shop


@pytest.mark.parametrize("make", [Worker, Standalone])
async def test_a_forgotten_settlement_is_found_and_the_job_runs_again(shop, make):
    shop.driver.forgets = 1
    [job_id] = await shop.push(Once())
    async with shop.open(make, sleep=3600) as running:
        await until(lambda: len(seen) == 2, "the second run")
        await until(lambda: not running._executor.running, "its end")
    assert seen == [job_id, job_id]
    assert await shop.driver.find(job_id, QUEUE) is None


async def test_what_runs_or_waits_to_be_settled_is_none(shop):
    ids = await shop.push(Waits(), Waits())
    async with shop.open(concurrency=2) as running:
        await until(lambda: len(seen) == 2, "the runs")
        looks = running._ghosts
        for _ in range(3):
            await looks.look()
        shop.driver.gate.clear()  # their settlements are carried out, and not answered
        state.go.set()
        await until(lambda: running._exchanger.sent, "the settlements")
        for _ in range(3):
            await looks.look()
        shop.driver.gate.set()
    assert seen == ids


async def test_a_batch_whose_answer_is_on_its_way_is_none(shop):
    shop.driver.gate.clear()
    async with shop.open(concurrency=2) as running:
        await until(lambda: running._exchanger.nonce, "an exchange")
        ids = await shop.push(Waits(), Waits())
        shop.driver.gate.set()
        await until(lambda: seen == ids, "the runs")
        state.go.set()
        shop.driver.gate.clear()
        await shop.push(Waits())
        await until(lambda: shop.driver.exchanges[-1][2], "a reserve")
        for _ in range(3):
            await running._ghosts.look()
        shop.driver.gate.set()
    assert len(seen) == len(set(seen))
