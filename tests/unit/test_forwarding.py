"""What chains leave for other queues: a worker takes it there at once, a janitor what is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from queued.daemon.metrics import Metrics
from queued.daemon.monitor.janitor import Janitor
from queued.daemon.monitor.reclaim import Dossier
from queued.daemon.reach import Reach
from queued.daemon.verdict import Sentence, Verdict
from queued.daemon.worker.backend import Backend
from queued.daemon.worker.forwarder import Forwarder
from queued.drivers import driver_for
from queued.drivers.base import Ack, Driver
from queued.errors import DriverUnavailable
from tests.contract.chains import OTHER_Q, chained
from tests.contract.steps import ME, Q, ids, reserve, until


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[Driver]:
    driver = driver_for(f"sqlite:///{tmp_path}/queued.db")
    await driver.open()
    yield driver
    await driver.close()


@pytest.fixture
def janitor(driver: Driver) -> Janitor:
    return Janitor(driver, Metrics())


async def held_link(driver: Driver, first: str = "a", second: str = "b") -> Ack:
    """Hold the first link of a chain of two queues; return its acknowledgement."""
    await driver.enqueue(Q, [chained((Q, first), (OTHER_Q, second)).job])
    [held] = await reserve(driver)
    return Ack(held.id, held.fence)


async def test_a_janitor_forwards_what_a_dead_worker_left(driver: Driver, janitor: Janitor) -> None:
    await driver.exchange(Q, ME, [await held_link(driver)])  # and is killed
    assert await janitor.forward([Q, "other"]) == 1
    assert await janitor.forward([Q, "other"]) == 0
    assert ids(await reserve(driver, queue=OTHER_Q)) == ["b"]


async def test_a_finished_job_of_a_dead_worker_continues_its_chain(
    driver: Driver, janitor: Janitor
) -> None:
    fence = (await held_link(driver)).fence
    finished = Sentence(Verdict.FINISHED, "a.B", fence, 3, 60.0, ran=1.0)
    assert await janitor.bury(Q, ME, {"a": finished}, Dossier(worker="q/1", at=1.0)) == 1
    assert ids(await reserve(driver, queue=OTHER_Q)) == ["b"]


async def test_a_queue_that_cannot_be_forwarded_holds_up_no_other(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await driver.exchange(Q, ME, [await held_link(driver)])
    janitor = Janitor(driver, Metrics())
    refuse(driver, monkeypatch, "shut")
    with pytest.raises(DriverUnavailable):
        await janitor.forward(["shut", Q])
    assert ids(await reserve(driver, queue=OTHER_Q)) == ["b"]


async def test_what_is_settled_counts_although_nothing_can_be_forwarded(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second burial would find nothing to settle, and so nothing to count."""
    fence = (await held_link(driver)).fence
    metrics = Metrics()
    janitor = Janitor(driver, metrics)
    finished = Sentence(Verdict.FINISHED, "a.B", fence, 3, 60.0, ran=1.0)
    with monkeypatch.context() as patch:
        refuse(driver, patch, Q)
        assert await janitor.bury(Q, ME, {"a": finished}, Dossier(worker="q/1", at=1.0)) == 1
    [(labels, count)] = metrics.snapshot()["counters"]["jobs_reclaimed_total"]
    assert (labels["reason"], count) == ("finished", 1)
    assert await janitor.forward([Q]) == 1


def refuse(driver: Driver, monkeypatch: pytest.MonkeyPatch, queue: str) -> None:
    """Let a driver not forward the outbox of one queue: a queue that it is for is locked."""
    forward = driver.forward

    async def shut(source: str) -> int:
        if source == queue:
            raise DriverUnavailable("locked")
        return await forward(source)

    monkeypatch.setattr(driver, "forward", shut)


async def test_the_janitor_of_a_worker_alone_forwards_at_its_own_pace(
    driver: Driver, janitor: Janitor
) -> None:
    await driver.exchange(Q, ME, [await held_link(driver)])
    running = asyncio.create_task(janitor.run(lambda: [Q], "me"))
    assert ids(await until(lambda: reserve(driver, queue=OTHER_Q))) == ["b"]
    running.cancel()


class Shy:
    """A driver whose forwarding can be held back, or fail."""

    name = "shy"

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.calls = 0
        self.gate = asyncio.Event()
        self.down = False

    async def forward(self, queue: str) -> int:
        self.calls += 1
        await self.gate.wait()
        if self.down:
            raise DriverUnavailable("cut")
        return await self.driver.forward(queue)


def forwarder_of(shy: Shy) -> tuple[Forwarder, list[str]]:
    ended: list[str] = []
    backend = Backend(shy, Q, ME, 30.0, Reach("shy", Metrics()))  # type: ignore[arg-type]
    return Forwarder(backend, lambda: ended.append("ended")), ended


async def test_what_comes_while_it_forwards_is_forwarded_too(driver: Driver) -> None:
    shy = Shy(driver)
    forwarder, ended = forwarder_of(shy)
    await driver.exchange(Q, ME, [await held_link(driver)])
    forwarder.go()
    await asyncio.sleep(0)
    await driver.exchange(Q, ME, [await held_link(driver, "c", "d")])
    forwarder.go()
    forwarder.go()
    assert forwarder.active
    shy.gate.set()
    await until(_is_true(lambda: not forwarder.active))
    assert (shy.calls, ended) == (2, ["ended"])
    assert ids(await reserve(driver, 5, queue=OTHER_Q)) == ["b", "d"]


async def test_what_cannot_be_forwarded_now_is_left_to_others(driver: Driver) -> None:
    shy = Shy(driver)
    shy.down = True
    shy.gate.set()
    forwarder, ended = forwarder_of(shy)
    forwarder.go()
    await until(_is_true(lambda: not forwarder.active))
    assert (shy.calls, ended) == (1, ["ended"])
    shy.down = False
    forwarder.go()
    await until(_is_true(lambda: not forwarder.active))
    assert shy.calls == 2


async def test_a_worker_that_ends_leaves_it_to_others(driver: Driver) -> None:
    shy = Shy(driver)
    forwarder, _ = forwarder_of(shy)
    forwarder.go()
    await asyncio.sleep(0)
    forwarder.cancel()
    await until(_is_true(lambda: not forwarder.active))
    await driver.exchange(Q, ME, [await held_link(driver)])
    assert await driver.forward(Q) == 1


def _is_true(condition):
    async def ask() -> bool:
        return condition()

    return ask
