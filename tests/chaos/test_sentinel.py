"""Row 47 with Sentinel: the primary changes under load, as planned or by its death."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from queued.errors import DriverUnavailable
from queued.jobs.queue import Queue
from tests.chaos import work
from tests.chaos.hasty import HastyDaemon
from tests.chaos.ledger import WORK, Ledger
from tests.chaos.oracle import verdict
from tests.contract.redis_steps import SERVERS
from tests.contract.sentinels import Watched, watched
from tests.process.harness import PATIENCE, Daemon, until

CONFIG = """
connection: "{connection}"
imports: [work]
http: {{listen: "127.0.0.1:0"}}
queues:
  default: {{processes: 2, concurrency: 5, sleep: 600}}
"""
SOON = 15.0
"""Seconds in which work goes on, where 5 s are promised and the machine is loaded."""
UNREPLICATED = 2.0
"""Seconds before the death of a primary whose acknowledgements may be lost with it, under load."""
CALLS = 200
"""Failed calls of two workers and the monitor in a failover of seconds; who spins makes more."""
SECRETS = ("p-rimary", "s-entinel")


class Producer:
    """Pushes job after job, and knows when each was acknowledged."""

    def __init__(self, url: str, ledger: Ledger) -> None:
        self.acknowledged: list[tuple[float, str]] = []
        self.stop = asyncio.Event()
        self._queue, self._ledger = Queue(url), ledger

    async def run(self) -> None:
        async with self._queue as queue:
            while not self.stop.is_set():
                try:
                    receipts = await queue.bulk([work.Sleeps(seconds=0.02)] * 3)
                except DriverUnavailable as error:
                    self._ledger.doubt(error.ids, "sleeps")
                else:
                    at = time.monotonic()
                    self.acknowledged += [(at, receipt.id) for receipt in receipts]
                await asyncio.sleep(0.02)

    async def more(self, count: int) -> None:
        wanted = len(self.acknowledged) + count
        await asyncio.to_thread(until, lambda: len(self.acknowledged) >= wanted, f"{wanted} jobs")

    def settle(self, lost_from: float = 0.0, lost_to: float = 0.0) -> None:
        """Write down what is promised: all but what was acknowledged between the two times."""
        for at, job_id in self.acknowledged:
            word = self._ledger.doubt if lost_from <= at <= lost_to else self._ledger.acknowledge
            word([job_id], "sleeps")


@pytest.fixture(params=SERVERS)
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Watched]:
    primary, sentinel = SECRETS
    folder = tmp_path / "servers"
    with watched(request.param, folder, password=primary, sentinel_password=sentinel) as made:
        yield made


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with contextlib.closing(Ledger(tmp_path / "ledger")) as made:
        yield made


@pytest.fixture
def daemon(service: Watched, ledger: Ledger, tmp_path: Path) -> Iterator[Daemon]:
    (tmp_path / "daemon").mkdir()
    config = CONFIG.format(connection=service.url)
    made = HastyDaemon(tmp_path / "daemon", config, jobs=WORK, **ledger.environment)
    try:
        yield made.start()
    finally:
        made.clean_up()


def plan(service: Watched) -> None:
    """Fail over as docs/drivers.md says: nothing is written until the replica has everything."""
    with service.client(service.primary) as primary:
        primary.execute_command("CLIENT", "PAUSE", 10_000, "WRITE")
        service.settle()
        service.fail_over()


def kill(service: Watched) -> None:
    former = service.primary
    former.kill()
    service.until_promoted(former)


@pytest.mark.fault(47)
@pytest.mark.parametrize("change", [plan, kill])
async def test_the_primary_changes_under_load(
    service: Watched, daemon: Daemon, ledger: Ledger, change: Callable[[Watched], None]
) -> None:
    workers = daemon.until_staffed()
    producer = Producer(service.url, ledger)
    producing = asyncio.create_task(producer.run())
    await producer.more(300)
    began = time.monotonic()
    with ledger.fault(change.__name__, outage=True):
        await asyncio.to_thread(change, service)
        promoted = time.monotonic()
        await producer.more(3)
    runs = len(ledger.runs())
    await asyncio.to_thread(until, lambda: len(ledger.runs()) > runs + 5, "the next jobs to run")
    assert time.monotonic() - promoted < SOON
    await producer.more(300)
    producer.stop.set()
    await producing
    lost = (began - UNREPLICATED, promoted) if change is kill else (0.0, 0.0)
    producer.settle(*lost)

    judgement = await verdict(service.url, ["default"], ledger, PATIENCE)
    assert judgement.broken == []
    assert judgement.failed == 0
    assert {one["pid"] for one in daemon.workers()} == workers, "no worker had to be replaced"
    metrics = daemon.get("/metrics")[1]
    errors = re.findall(r"^queued_driver_errors_total\{.*\} (.+)$", metrics, re.MULTILINE)
    assert sum(map(float, errors)) < CALLS
    told = [daemon.output(), metrics, json.dumps(daemon.status()), titles(daemon)]
    assert not [secret for secret in SECRETS for text in told if secret in text]


def titles(daemon: Daemon) -> str:
    """Return how the processes are called in ``ps``."""
    files = [Path(f"/proc/{pid}/cmdline") for pid in daemon.processes()]
    return "\n".join(file.read_text() for file in files if file.exists())
