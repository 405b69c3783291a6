"""Row 47 with Sentinel: the primary changes under load, as planned or by its death."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.failover import (
    Producer,
    all_that_it_tells,
    driver_errors,
    until_replicated,
)
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
CALLS = 200
"""Failed calls of two workers and the monitor in a failover of seconds; who spins makes more."""
SECRETS = ("p-rimary", "s-entinel")


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
    producer = Producer(service.url, ["default"], ledger)
    producer.start()
    await producer.more(300, "default")
    since = time.monotonic()
    primary, replica = service.client(service.primary), service.client(service.replica)
    await asyncio.to_thread(until_replicated, primary, replica)
    with ledger.fault(change.__name__, outage=True):
        await asyncio.to_thread(change, service)
        promoted = time.monotonic()
        await producer.more(3, "default")
    runs = len(ledger.runs())
    await asyncio.to_thread(until, lambda: len(ledger.runs()) > runs + 5, "the next jobs to run")
    assert time.monotonic() - promoted < SOON
    await producer.more(300, "default")
    await producer.stop()
    if change is kill:
        producer.settle("default", since, promoted)
    else:
        producer.settle()

    judgement = await verdict(service.url, ["default"], ledger, PATIENCE)
    assert judgement.broken == []
    assert judgement.failed == 0
    assert {one["pid"] for one in daemon.workers()} == workers, "no worker had to be replaced"
    assert driver_errors(daemon.metrics()) < CALLS
    told = all_that_it_tells(daemon)
    assert not [secret for secret in SECRETS if secret in told]
