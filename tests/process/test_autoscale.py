"""A real daemon whose pool follows the wait of its queue."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

from queued.drivers import driver_for
from queued.drivers.base import QueueStats
from tests.process.harness import Daemon, stopped_between_transactions, until

JOBS = """
import asyncio
from queued import Job

class Slow(Job):
    queue = "slow"
    max_tries = 1
    async def handle(self):
        with open("done.txt", "a") as file:
            file.write(f"{self.job_id} {self.attempts}\\n")
        await asyncio.sleep(1.0)
"""
CONFIG = """
connection: {connection}
imports: [work]
http: {{listen: "127.0.0.1:0"}}
log: {{format: json}}
queues:
  slow: {{processes: {{min: 1, max: 4, cooldown: 1s}}, concurrency: 1, max_wait: 2s}}
"""
BURST = 24


def steps(daemon: Daemon) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in daemon.output().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == "pool.scaled"]


def dispatch(daemon: Daemon, count: int) -> set[str]:
    program = (
        "import work, json; from queued import queue;"
        f"print(json.dumps([r.id for r in queue.sync.bulk([work.Slow() for _ in range({count})])]))"
    )
    environment = daemon.environment | {"QUEUED_CONFIG": str(daemon.config)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=daemon.folder, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(json.loads(done.stdout))


async def stats(connection: str) -> QueueStats:
    driver = driver_for(connection)
    await driver.open()
    try:
        return (await driver.stats(["slow"]))["slow"]
    finally:
        await driver.close()


def desired(daemon: Daemon) -> int:
    return daemon.status()["pools"]["slow"]["desired"]


async def test_a_burst_comes_and_goes(daemon, connection: str) -> None:
    running = daemon(CONFIG.format(connection=connection), jobs=JOBS).start()
    assert desired(running) == 1
    jobs = dispatch(running, BURST)
    until(lambda: desired(running) == 4, "the pool to be as large as it may be")
    metric = re.search(r'queued_workers_max\{pool="slow"\} (\S+)', running.metrics())
    assert metric
    assert float(metric[1]) == 4
    until(lambda: desired(running) == 1, "the pool to be as small as it may be")
    until(lambda: len(running.workers("slow")) == 1, "those that are one too many to be gone")
    at_the_end = await stats(connection)
    assert (at_the_end.size, at_the_end.reserved, at_the_end.failed) == (0, 0, 0)
    ran = [line.split() for line in (running.folder / "done.txt").read_text().splitlines()]
    assert sorted(job for job, _ in ran) == sorted(jobs), "each ran, and once"
    assert {attempt for _, attempt in ran} == {"1"}
    taken = [(step["from"], step["to"]) for step in steps(running)]
    assert all(1 <= int(str(to)) <= 4 for _, to in taken)
    assert all(step["why"] and step["max_wait"] == 2.0 for step in steps(running))
    exits = running.status()["pools"]["slow"]["exits"]
    assert set(exits) == {"drained"}


async def test_nothing_is_decided_on_old_samples(daemon, connection: str) -> None:
    """The monitor stands still: jobs wait, and the pool stays as it is."""
    running = daemon(CONFIG.format(connection=connection), jobs=JOBS).start()
    monitor = running.status()["monitor"]["pid"]
    try:
        jobs = stopped_between_transactions(
            [monitor], lambda: dispatch(running, 5), subprocess.CalledProcessError
        )
        done = running.folder / "done.txt"  # the first job makes it
        until(
            lambda: done.exists() and len(done.read_text().splitlines()) == len(jobs),
            "one worker to do it all",
        )
        assert desired(running) == 1
        assert not steps(running)
    finally:
        os.kill(monitor, signal.SIGCONT)
