"""A host that is gone with all its processes: another one runs its jobs after the lease."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from queued.jobs.queue import Queue
from tests.chaos import work
from tests.chaos.backends import BACKENDS, available
from tests.chaos.hasty import LEASE, HastyDaemon
from tests.chaos.ledger import WORK, Ledger
from tests.chaos.oracle import verdict
from tests.contract.backends import unavailable
from tests.process.harness import PATIENCE, until

CONFIG = """
connection: "{url}"
imports: [work]
http: {{listen: "127.0.0.1:0"}}
queues:
  default: {{processes: 1, concurrency: 5, sleep: 600, max_tries: 1}}
"""
SOON = 10.0
"""Seconds, where 5 s are meant and the machine is loaded."""


@pytest.fixture(params=["sqlite", "valkey", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param not in available():
        unavailable(f"{request.param} is not installed")
    folder = tmp_path / "backend"
    folder.mkdir()
    with BACKENDS[request.param](folder) as backend:
        yield backend.url


async def test_the_jobs_of_a_lost_host_run_again_when_its_lease_is_over(
    url: str, tmp_path: Path
) -> None:
    """Not before, since it might live; and no try is charged, of which each job has one."""
    ledger, release = Ledger(tmp_path / "ledger"), tmp_path / "release"
    with contextlib.ExitStack() as stack:
        stack.callback(ledger.close)
        hosts = []
        for name in "ab":
            (tmp_path / name).mkdir()
            config = CONFIG.format(url=url)
            host = HastyDaemon(tmp_path / name, config, jobs=WORK, **ledger.environment)
            stack.callback(host.clean_up)
            hosts.append(host.start())
        lost, other = hosts
        async with Queue(url) as producer:
            jobs = [work.Waits(path=str(release))] * 10
            ids = [receipt.id for receipt in await producer.bulk(jobs)]
        ledger.acknowledge(ids, "waits")
        await asyncio.to_thread(until, lambda: len(ledger.runs()) == 10, "the jobs to run")
        [pid] = {worker["pid"] for worker in lost.workers()}
        cut = {job for job, [run] in ledger.runs().items() if run.pid == pid}
        assert len(cut) == 5, "both are full"

        with ledger.fault("host", [pid]):
            lost.clean_up()
        gone = time.monotonic()
        release.touch()
        found = await verdict(url, ["default"], ledger, PATIENCE)
        assert found.broken == []
        assert (found.done, found.failed) == (10, 0)
        for job in cut:
            _, again = ledger.runs()[job]
            assert again.attempt == 2
            assert LEASE / 2 < again.began - gone < LEASE + SOON
        reason = {"queue": "default", "reason": "lease_expired"}
        await asyncio.to_thread(
            until, lambda: other.metric("jobs_reclaimed_total", **reason) == 5, "their count"
        )
