"""Pauses and rate limits over real daemons: nothing starts, resume wakes, limits hold on all."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.process.harness import Daemon, until

CONFIG = """
connection: {connection}
imports: [work]
http: {{listen: "127.0.0.1:0"}}
queues:
  default: {{processes: 2, concurrency: 3, sleep: 10m{more}}}
"""
JOBS = """
from pathlib import Path
from queued import Job
from queued.drivers import driver_for

class Ran(Job):
    '''Writes down when it was reserved, by the back-end's clock.'''
    ledger: str
    connection: str
    async def handle(self):
        driver = driver_for(self.connection)
        await driver.open()
        info = await driver.find(self.job_id, "default")
        await driver.close()
        with Path(self.ledger).open("a") as ledger:
            ledger.write(f"{info.reserved_at}\\n")
"""


def push(daemon: Daemon, ledger: Path, connection: str, count: int) -> None:
    program = (
        "import asyncio, sys, work, queued\n"
        "url, ledger, count = sys.argv[1:]\n"
        "queued.queue.connect(url)\n"
        "jobs = [work.Ran(ledger=ledger, connection=url) for _ in range(int(count))]\n"
        "queued.queue.sync.bulk(jobs)\n"
    )
    arguments = [sys.executable, "-c", program, connection, str(ledger), str(count)]
    subprocess.run(arguments, cwd=daemon.folder, env=daemon.environment, check=True)


def reserved(ledger: Path) -> list[float]:
    return sorted(map(float, ledger.read_text().split())) if ledger.exists() else []


def paused_since(daemon: Daemon) -> float:
    [answer] = json.loads(daemon.run("pause", "default", "--reason", "a test", "--json").stdout)
    assert answer["changed"]
    since: float = answer["paused"]["since"]
    return since


def test_nothing_starts_while_paused_and_resume_wakes(
    daemon: Callable[..., Daemon], connection: str, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    running = daemon(CONFIG.format(connection=connection, more=""), jobs=JOBS).start()
    push(running, ledger, connection, 200)
    until(lambda: reserved(ledger), "a job to run")
    since = paused_since(running)
    push(running, ledger, connection, 20)

    def rests() -> bool:
        stats = running.status()["queues"].get("default") or {}
        return bool(stats.get("paused")) and stats["reserved"] == 0

    until(rests, "running jobs to finish")
    ran = len(reserved(ledger))
    assert max(reserved(ledger)) <= since + 0.001
    assert ran < 220, "all had run before the pause: nothing was tried"
    assert "default is paused since" in running.run("why", "default").stdout
    assert "(paused)" in running.run("status").stdout
    until(
        lambda: 'queued_queue_paused{queue="default"} 1.0' in running.get("/metrics")[1],
        "the metric",
    )
    time.sleep(0.5)
    assert len(reserved(ledger)) == ran
    running.run("resume", "default")  # with sleep: 10m, only what it wakes can run the rest
    until(lambda: len(reserved(ledger)) == 220, "the rest to run")


def test_a_rate_limit_holds_over_two_daemons(
    daemon: Callable[..., Daemon], connection: str, tmp_path: Path
) -> None:
    ledger, burst, rate, total = tmp_path / "ledger", 10, 50, 120
    limit = f", rate_limit: {{jobs: {rate}, per: 1s, burst: {burst}}}"
    config = CONFIG.format(connection=connection, more=limit)
    one, _ = (daemon(config, jobs=JOBS).start() for _ in range(2))
    push(one, ledger, connection, total)
    until(lambda: len(reserved(ledger)) == total, "all to run")
    times = reserved(ledger)
    for first in range(total):
        for last in range(first, total):
            allowed = burst + rate * (times[last] - times[first] + 0.001)
            assert last - first + 1 <= allowed, (first, last)


def test_a_reload_changes_and_removes_a_limit(
    daemon: Callable[..., Daemon], connection: str, tmp_path: Path
) -> None:
    """With sleep: 10m, only its own sight of the next token makes a worker look."""
    ledger = tmp_path / "ledger"
    limits = (", rate_limit: 1/1d", ", rate_limit: 100/1s", ", rate_limit: 1/2d", "")
    running = daemon(CONFIG.format(connection=connection, more=limits[0]), jobs=JOBS).start()
    push(running, ledger, connection, 10)
    until(lambda: len(reserved(ledger)) == 1, "the one that it allows")

    def limited() -> dict[str, Any] | None:
        answer = json.loads(running.run("why", "default", "--json").stdout)
        found = [one for one in answer["reasons"] if one["reason"] == "rate_limited"]
        return found[0] if found else None

    def reload(old: str, new: str) -> list[str]:
        running.config.write_text(running.config.read_text().replace(old, new))
        return running.run("reload").stdout.splitlines()

    why = limited()
    assert why is not None
    assert 80_000 < why["seconds"] <= 86_400
    assert why["text"].startswith("default is rate limited, next token in ")
    changed = ["queues.default: rate_limit changed; its workers are replaced"]
    assert reload(limits[0], limits[1]) == changed
    until(lambda: len(reserved(ledger)) == 10, "the rest, which waited for a day")

    before = {one["pid"] for one in running.workers("default")}
    assert reload(limits[1], limits[2]) == changed
    until(
        lambda: before.isdisjoint(one["pid"] for one in running.workers("default")),
        "the workers of the faster one to be gone",
    )
    push(running, ledger, connection, 10)
    until(lambda: len(reserved(ledger)) == 11, "the one that the bucket has")
    why = limited()
    assert why is not None
    assert 160_000 < why["seconds"] <= 172_800

    assert reload(limits[2], limits[3]) == changed
    until(lambda: len(reserved(ledger)) == 20, "the rest, which waited for two days")
    assert limited() is None
