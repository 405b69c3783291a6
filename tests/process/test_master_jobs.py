"""A daemon that dies, stops or restarts with real jobs in hand: every job runs again.

Workers that die: tests/chaos.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.process.harness import Daemon, until

CONFIG = """
connection: {connection}
imports: [work]
http: {{listen: "127.0.0.1:0"}}
shutdown_grace: 5s
queues:
  default: {{processes: 1, concurrency: 10, sleep: 5}}
"""
JOBS = """
import asyncio, os
from pathlib import Path
from queued import Job

def note(job, what):
    with open(f"{type(job).__name__}-{what}", "a") as file:
        file.write(f"{job.job_id} {job.attempts} {os.getpid()}\\n")

class Slow(Job):
    '''Runs until a file is there.'''
    number: int = 0
    async def handle(self):
        note(self, "began")
        while not Path("release").exists():
            await asyncio.sleep(0.01)
        note(self, "done")
"""


@pytest.fixture
def running(daemon, connection) -> Daemon:
    return daemon(CONFIG.format(connection=connection), jobs=JOBS).start()


def push(running: Daemon, job: str, times: int = 1) -> None:
    for _ in range(times):
        running.run("dispatch", f"work.{job}", "{}")


def lines(running: Daemon, name: str) -> list[list[str]]:
    path = running.folder / name
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def failed(running: Daemon) -> list[dict]:
    return json.loads(running.run("failed", "list", "--json").stdout)


@pytest.mark.fault(3)
def test_a_killed_master_loses_nothing(running):
    push(running, "Slow", 3)
    until(lambda: len(lines(running, "Slow-began")) == 3, "three jobs")
    running.signal(signal.SIGKILL)
    running.wait()
    until(lambda: running.processes() == [], "the children to go", seconds=5)
    running.start()
    (running.folder / "release").touch()
    until(lambda: len(lines(running, "Slow-done")) == 3, "all three to run again")
    assert failed(running) == []
    assert running.stop() == 0


def test_a_stop_hands_back_what_does_not_end(running):
    push(running, "Slow", 2)
    until(lambda: len(lines(running, "Slow-began")) == 2, "two jobs")
    assert running.stop() == 0
    assert running.processes() == []
    (running.folder / "release").touch()
    running.start()
    until(lambda: len(lines(running, "Slow-done")) == 2, "both to run again")
    assert running.stop() == 0


def test_a_restart_takes_new_code_in_and_loses_nothing(running):
    push(running, "Slow", 2)
    until(lambda: len(lines(running, "Slow-began")) == 2, "two jobs")
    work: Path = running.folder / "work.py"
    work.write_text(JOBS + "\nclass Fresh(Job):\n    async def handle(self): note(self, 'done')\n")
    (running.folder / "release").touch()
    running.run("restart")
    push(running, "Fresh")
    until(lambda: lines(running, "Fresh-done"), "a job of the new code")
    until(lambda: len(lines(running, "Slow-done")) == 2, "the old jobs to end")
    assert failed(running) == []
    assert running.stop() == 0
