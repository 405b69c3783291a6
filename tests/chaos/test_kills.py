"""What follows the kill of a worker or of a master, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from queued.drivers import driver_for
from queued.drivers.base import Driver
from queued.jobs.queue import Queue
from tests.chaos import work
from tests.chaos.crew import Crew
from tests.chaos.ledger import WORK, Ledger, Run
from tests.chaos.oracle import verdict
from tests.contract.servers import running as until_stopped
from tests.contract.servers import start_valkey
from tests.process.conftest import connection, daemon  # noqa: F401 - fixtures
from tests.process.harness import PATIENCE, Daemon, until

CONFIG = """
connection: "{connection}"
imports: [work]
http: {{listen: "127.0.0.1:0"}}
queues:
  default: {{processes: 1, concurrency: 4, sleep: 30}}
"""
SOON = 10.0
"""Seconds, where a second is meant and the machine is loaded. No lease (30 s), no sleep (30 s) and
no waiting worker could stand in for the reclaim: without it nothing happens for longer."""

FAILED_CALLS = "queued_driver_errors_total{"
TRIES = 14
"""Calls that fail, after which pauses between tries have grown to their bounds."""


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path / "ledger")
    yield made
    made.close()


@pytest.fixture
def running(connection: str, daemon: Callable[..., Daemon], ledger: Ledger) -> Daemon:  # noqa: F811
    config = CONFIG.format(connection=connection)
    made: Daemon = daemon(config, jobs=WORK, **ledger.environment)
    return made.start()


async def dispatch(url: str, ledger: Ledger, release: Path, count: int = 1) -> list[str]:
    """Enqueue jobs that wait for a file, so that a kill finds them, and wait until all run."""
    async with Queue(url) as queue:
        jobs = [work.Waits(path=str(release))] * count
        ids = [receipt.id for receipt in await queue.bulk(jobs)]
    ledger.acknowledge(ids, "waits")
    await asyncio.to_thread(until, lambda: ledger.runs().keys() >= set(ids), "the jobs to begin")
    return ids


def second_run(ledger: Ledger, job_id: str) -> Run:
    def rerun() -> Run | None:
        return next(iter(ledger.runs()[job_id][1:]), None)

    found: Run = until(rerun, "the job to run again", every=0.005)
    return found


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Driver]:
    driver = driver_for(url)
    await driver.open()
    try:
        yield driver
    finally:
        await driver.close()


@pytest.mark.fault(1)
async def test_the_job_of_a_killed_worker_runs_again_at_once_and_no_try_is_charged(
    running: Daemon,
    ledger: Ledger,
    connection: str,  # noqa: F811
    tmp_path: Path,
) -> None:
    (job,) = await dispatch(connection, ledger, release := tmp_path / "release")
    (first,) = ledger.runs()[job]
    with ledger.fault("kill", [first.pid]):
        killed_at = time.monotonic()
        os.kill(first.pid, signal.SIGKILL)
    second = await asyncio.to_thread(second_run, ledger, job)
    assert second.began - killed_at < SOON
    assert second.attempt == 2
    assert second.pid != first.pid
    async with opened(connection) as driver:
        found = await driver.find(job)
        assert found is not None
        assert (found.counts.crashes, found.counts.tries) == (1, 0)
    assert running.status()["pools"]["default"]["exits"]["signal"] == 1  # and no other crash
    release.touch()
    judgement = await verdict(connection, ["default"], ledger, within=60)
    assert not judgement.broken
    assert judgement.duplicates == 1


@pytest.mark.fault(1, 27)
async def test_who_is_killed_in_an_outage_holds_up_nobody_after_it(
    daemon: Callable[..., Daemon],  # noqa: F811
    ledger: Ledger,
    tmp_path: Path,
) -> None:
    """A worker and the monitor: their successors have tried for a while when the server is back."""
    with until_stopped(start_valkey(tmp_path / "valkey", "--appendonly", "yes")) as server:
        host = daemon(CONFIG.format(connection=server.url), jobs=WORK, **ledger.environment).start()
        metrics, monitor = f"{host.address}/metrics", host.status()["monitor"]["pid"]
        (job,) = await dispatch(server.url, ledger, tmp_path / "never")
        (first,) = ledger.runs()[job]
        server.stop()
        for pid in (first.pid, monitor):
            os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(until, lambda: tries(metrics) > TRIES, "tries that fail", every=0.1)
        server.start()
        back = time.monotonic()
        second = await asyncio.to_thread(second_run, ledger, job)
        assert second.began - back < SOON
        assert second.pid != first.pid


def tries(metrics: str) -> float:
    """Return how many calls of the back-end have failed; 0: the page does not tell."""
    try:
        with urllib.request.urlopen(metrics, timeout=PATIENCE) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:  # its monitor is the one that was killed
        return 0.0
    return sum(float(one.split()[1]) for one in lines if one.startswith(FAILED_CALLS))


@pytest.mark.fault(3)
async def test_a_killed_master_leaves_nobody_and_its_jobs_run_again_with_the_next(
    running: Daemon,
    ledger: Ledger,
    connection: str,  # noqa: F811
    tmp_path: Path,
) -> None:
    jobs = await dispatch(connection, ledger, release := tmp_path / "release", 2)
    with ledger.fault("kill the master"):
        killed_at = time.monotonic()
        running.signal(signal.SIGKILL)
        until(lambda: not running.processes(), "every child to be gone", every=0.01)
        assert time.monotonic() - killed_at < SOON
    running.wait()
    restarted_at = time.monotonic()
    running.start()
    assert len(running.workers()) == 1
    for job in jobs:
        second = await asyncio.to_thread(second_run, ledger, job)
        assert second.began - restarted_at < 2 * SOON  # it starts Python, first
    release.touch()
    judgement = await verdict(connection, ["default"], ledger, within=60)
    assert not judgement.broken
    assert judgement.duplicates == 2


FINISHES = """
class Slow(Job):
    async def handle(self):
        note(self, "began")
        await until("release")
        note(self, "done")

class Beside(Job):
    async def handle(self):
        await until("Slow-done")
        note(self, "saw")  # on the same loop, whose step in which the other one ended is over
        await until("go")
        note(self, "done")
"""


def test_what_a_killed_worker_had_finished_is_acknowledged_and_does_not_run_again(
    make_crew: Callable[[str, str], Crew],
) -> None:
    """It could not say so: the file was locked from before the job's end until the kill."""
    crew = make_crew("  default: {processes: 1, concurrency: 2, sleep: 30}\n", FINISHES)
    crew.start()
    slow, beside = crew.push_together("default", ["Slow", "Beside"])
    [line] = crew.until_lines("Slow-began")
    database = sqlite3.connect(crew.folder / "queued.db", isolation_level=None, timeout=60)
    with contextlib.closing(database) as other:
        other.execute("BEGIN IMMEDIATE")
        crew.touch("release")
        crew.until_lines("Beside-saw")
        os.kill(line.pid, signal.SIGKILL)
        until(lambda: crew.events("worker.crashed", pid=line.pid), "its death")
        other.execute("ROLLBACK")
    until(lambda: crew.find(slow) is None, "its acknowledgement")
    crew.until_lines("Beside-saw", 2)
    crew.touch("go")
    until(lambda: crew.find(beside) is None, "the other one to end")
    assert [one.id for one in crew.lines("Slow-began")] == [slow]
    until(
        lambda: crew.metric("jobs_reclaimed_total", queue="default", reason="finished") == 1,
        "its count",
    )
