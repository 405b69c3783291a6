"""Where there is no subreaper (macOS): the master forks the workers, which import themselves."""

from __future__ import annotations

import os
import signal

from tests.process.harness import until

CONFIG = """
connection: sqlite:///queued.db
imports: [work]
http: false
queues:
  default: {processes: 2}
"""
JOBS = """
from queued import Job
class Touch(Job):
    async def handle(self): ...
"""


def test_a_life_without_a_template(master):
    running = master(CONFIG, jobs=JOBS, QUEUED_TEST_NO_SUBREAPER="1").start()
    assert len(running.processes()) == 4  # master, monitor, two workers
    before = running.pids()
    os.kill(min(before), signal.SIGKILL)
    until(lambda: len(running.pids() - before) == 1, "a successor")
    before = running.pids()
    running.client.request("restart", timeout=60.0)
    assert not running.pids() & before
    running.signal(signal.SIGHUP)
    until(lambda: running.status()["reloads"] == 1, "the reload")
    assert running.stop() == 0
    assert running.processes() == []


def test_a_broken_import_is_seen_in_each_worker(master):
    running = master(CONFIG, jobs="x.y\n", QUEUED_TEST_NO_SUBREAPER="1").start(ready=False)
    until(lambda: running.events("import.failed"), "the error of a worker")
    assert "work.py:1" in running.events("import.failed")[0]["error"]
    until(lambda: running.events("worker.crashed"), "its exit")
    assert running.events("worker.crashed")[0]["reason"] == "boot_error"
    assert running.stop() == 0
