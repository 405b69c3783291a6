"""Workers that die with real jobs in hand: every job runs again, and who is charged is right."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.process.harness import Daemon, is_alive, until

CONFIG = """
connection: {connection}
imports: [work]
http: {{listen: "127.0.0.1:0"}}
shutdown_grace: 5s
queues:
  default: {{processes: 1, concurrency: 10, kill_grace: 0.5, sleep: 5}}
  short: {{processes: 1, concurrency: 1, timeout: 0.3, kill_grace: 0.2, max_tries: 2}}
"""
JOBS = """
import asyncio, ctypes, os, signal, time
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

class Poison(Job):
    async def handle(self):
        note(self, "began")
        os.kill(os.getpid(), signal.SIGKILL)

class ExitsZero(Job):
    async def handle(self):
        note(self, "began")
        if self.attempts == 1:
            os._exit(0)
        note(self, "done")

class Segfault(Job):
    async def handle(self):
        note(self, "began")
        if self.attempts == 1:
            ctypes.string_at(0)
        note(self, "done")

class HoldsTheGil(Job):
    queue = "short"
    async def handle(self):
        note(self, "began")
        ctypes.PyDLL(None).sleep(60)

class Swallows(Job):
    queue = "short"
    async def handle(self):
        note(self, "began")
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                pass

class Closes(Job):
    async def handle(self):
        note(self, "began")
        if self.attempts == 1:
            os.closerange(3, 1024)
            await asyncio.sleep(60)
        note(self, "done")

class Forks(Job):
    async def handle(self):
        pid = os.fork()
        if pid == 0:
            time.sleep(600)
            os._exit(0)
        Path("forked").write_text(str(pid))
        note(self, "began")
        if self.attempts == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
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


def exits(running: Daemon, pool: str = "default") -> dict[str, int]:
    return running.status()["pools"][pool]["exits"]


def test_jobs_of_a_killed_worker_run_again_at_once(running):
    push(running, "Slow", 3)
    began = until(lambda: len(found := lines(running, "Slow-began")) == 3 and found, "three jobs")
    os.kill(int(began[0][2]), signal.SIGKILL)
    killed = time.monotonic()
    until(lambda: len(lines(running, "Slow-began")) == 6, "all three to run again")
    print("recovered in", time.monotonic() - killed)
    (running.folder / "release").touch()
    until(lambda: len(lines(running, "Slow-done")) == 3, "all three to end")
    assert exits(running) == {"signal": 1}
    assert failed(running) == []
    assert running.stop() == 0


def test_a_poison_pill_fails_after_three_crashes_and_others_go_on(running):
    push(running, "Slow")
    until(lambda: lines(running, "Slow-began"), "a bystander to run")
    push(running, "Poison")
    until(lambda: len(lines(running, "Poison-began")) >= 2, "it to take both down twice")
    (running.folder / "release").touch()  # as suspects they wait for each other
    until(lambda: len(failed(running)) == 1, "the poison pill to be failed")
    assert lines(running, "Slow-done")
    (record,) = failed(running)
    assert record["job"] == "work.Poison"
    assert len(lines(running, "Poison-began")) in {3, 4, 5}
    assert running.stop() == 0


@pytest.mark.parametrize("job", ["ExitsZero", "Segfault", "Closes", "Forks"])
def test_a_crash_is_no_success(running, job):
    push(running, job)
    until(lambda: lines(running, f"{job}-done"), "the second run to end")
    assert [attempt for _, attempt, _ in lines(running, f"{job}-began")] == ["1", "2"]
    assert failed(running) == []
    (reason,) = set(exits(running)) - {"empty"}  # the second run was alone
    assert reason in {"ExitsZero": {"crash"}, "Closes": {"hung", "crash", "signal"}}.get(
        job, {"signal"}
    )
    if job == "Segfault":
        assert "Fatal Python error: Segmentation fault" in running.output()
    if job == "Forks":
        assert not is_alive(int((running.folder / "forked").read_text()))
    assert running.stop() == 0
    assert running.processes() == []


@pytest.mark.parametrize("job", ["HoldsTheGil", "Swallows"])
def test_what_cannot_be_cancelled_is_killed_and_fails_when_its_tries_are_used_up(running, job):
    push(running, job)
    until(lambda: len(failed(running)) == 1, "the job to be failed")
    assert len(lines(running, f"{job}-began")) == 2
    assert exits(running, "short") == {"hung": 2}
    assert running.stop() == 0


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
