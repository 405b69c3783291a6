"""A master that is killed, that stands still, and whose log nobody reads: who goes, who goes on."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.chaos.masters import JOBS, Make, events, hurried, lines, pids, push, reload_succeeded
from tests.process.harness import QUEUED, Daemon, is_alive, until
from tests.process.test_master_notify import Manager


@pytest.mark.fault(3)
def test_a_killed_master_takes_all_along_and_its_successor_finds_every_job(
    make_master: Make,
) -> None:
    """Even a worker whose GIL is held goes, before a new one takes a job: no double pool."""
    running = make_master().start()
    jobs = {push(running, "Slow"), push(running, "Slow"), push(running, "HoldsTheGil", "other")}
    until(lambda: len(lines(running, "Slow-began")) == 2, "two jobs")
    until(lambda: lines(running, "HoldsTheGil-began"), "a job that holds the GIL")
    before = running.processes()
    assert len(before) == 6  # master, template, monitor, three workers

    running.signal(signal.SIGKILL)
    running.wait()
    running.start(ready=False)  # at once: neither lock nor socket of the dead one are in the way
    until(lambda: not any(map(is_alive, before)), "everybody to be gone")
    until(running.is_ready, "the new daemon")
    until(lambda: len(lines(running, "Slow-began")) == 4, "both jobs to run again")
    until(lambda: len(lines(running, "HoldsTheGil-began")) == 2, "the third to run again")
    assert len([one for one in running.workers() if not one["solo"]]) == 3
    assert not set(running.processes()) & set(before)

    (running.folder / "release").touch()
    until(lambda: len(lines(running, "Slow-done")) == 2, "both jobs to end")
    os.kill(lines(running, "HoldsTheGil-began")[-1][1], signal.SIGKILL)
    until(lambda: lines(running, "HoldsTheGil-done"), "the third")
    assert {
        job for job, _ in lines(running, "Slow-done") + lines(running, "HoldsTheGil-done")
    } == jobs
    assert running.stop() == 0


@pytest.mark.fault(3)
def test_a_masters_successor_waits_for_no_lease_of_those_before_it(
    make_master: Make, tmp_path: Path
) -> None:
    """Nobody looks for leases that ran out: the jobs come back for their owners' earlier boot."""
    running = make_master(**hurried(tmp_path, "daemon.monitor.janitor", REAP_EVERY=3600)).start()
    jobs = {push(running, "Slow"), push(running, "Slow")}
    until(lambda: len(lines(running, "Slow-began")) == 2, "both jobs")
    running.signal(signal.SIGKILL)
    running.wait()
    running.start()
    until(lambda: len(lines(running, "Slow-began")) == 4, "both jobs to run again")
    assert {job for job, _ in lines(running, "Slow-began")[2:]} == jobs

    def reclaimed() -> int:
        return sum(one["earlier_boot"] for one in events(running, "jobs.reclaimed"))

    until(lambda: reclaimed() == 2, "both to be told of")
    (running.folder / "release").touch()
    until(lambda: len(lines(running, "Slow-done")) == 2, "both jobs to end")
    assert running.stop() == 0


@pytest.mark.fault(4)
def test_a_master_that_stands_still_gives_no_signs_of_life_and_holds_nobody_up(
    make_master: Make, manager: Manager, tmp_path: Path
) -> None:
    """The service manager's watchdog ends it; until then jobs run and leases are renewed."""
    running = make_master(
        NOTIFY_SOCKET=str(tmp_path / "notify"),
        WATCHDOG_USEC="200000",
        **hurried(tmp_path, "daemon.monitor.janitor", RENEW_EVERY=0.2),
    ).start()
    push(running, "Slow")
    until(lambda: lines(running, "Slow-began"), "a job")
    until(lambda: manager.heard("WATCHDOG=1"), "a sign of life")
    running.until_staffed()  # while it stands it starts nobody
    until(lambda: len(leases(running)) == 3, "a lease of each")
    running.signal(signal.SIGSTOP)
    stat = Path(f"/proc/{running.pid}/stat")
    until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "the master to stand")
    manager.heard("")
    known = len(manager.messages)

    before = leases(running)
    assert len(before) == 3
    until(lambda: all(leases(running)[owner] > at for owner, at in before.items()), "renewals")
    push(running, "Quick")
    until(lambda: lines(running, "Quick-done"), "another job to run")
    (running.folder / "release").touch()
    until(lambda: lines(running, "Slow-done"), "the first one to end")
    assert len(manager.heard("")) == known

    running.signal(signal.SIGCONT)
    until(lambda: len(manager.heard("WATCHDOG=1")) > 0 and len(manager.messages) > known, "life")
    assert len(lines(running, "Slow-began")) == 1
    assert events(running, "worker.crashed") == []
    assert running.stop() == 0


def leases(running: Daemon) -> dict[str, float]:
    """Return until when each owner that is not retired has its lease."""
    with sqlite3.connect(running.folder / "queued.db") as database:
        return dict(
            database.execute(
                "SELECT owner, lease_until FROM queued_owners WHERE retired_at IS NULL"
            )
        )


# nobody reads what it writes


CHATTY = (
    JOBS
    + """
import logging

class Chats(Job):
    name = "master.Chats"
    def handle(self):
        for _ in range(300):
            logging.getLogger("app").warning("x" * 500)
        note(self, "done")
"""
)


def test_a_log_that_nobody_reads_holds_nobody_up(make_master: Make) -> None:
    running = make_master(jobs=CHATTY)
    reader, writer = os.pipe()
    running.process = subprocess.Popen(
        [QUEUED, "start", "-c", running.config],
        cwd=running.folder,
        env=running.environment,
        stderr=writer,
        stdin=subprocess.DEVNULL,
    )
    try:
        until(running.is_ready, "the daemon")
        push(running, "Chats")  # 150 kB into a pipe of 64
        until(lambda: lines(running, "Chats-done"), "the job to end")
        good = running.config.read_text()
        running.config.write_text("queues: [")
        assert running.run("reload", check=False).returncode == 1  # the master logs it
        running.config.write_text(good)
        running.run("restart")
        os.kill(min(pids(running)), signal.SIGKILL)
        until(lambda: len(pids(running)) == 3, "a successor")
        push(running, "Quick")
        until(lambda: lines(running, "Quick-done"), "another job")
        until(lambda: reload_succeeded(running) is not None, "the monitor's page")
        assert running.stop() == 0
        assert running.processes() == []
    finally:
        os.close(writer)
        os.close(reader)
