"""Starts of a master amid threads, broken imports, early deaths, signals, a taken port, another."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from tests.chaos.masters import (
    JOBS,
    Make,
    edit,
    events,
    hurried,
    lines,
    pids,
    push,
    reload_succeeded,
)
from tests.process.harness import until

THREADS = (
    JOBS
    + """
import logging, threading, time

class Slowly(logging.Handler):
    def emit(self, record):  # with the handler's lock held
        time.sleep(0.05)

logging.getLogger("chatty").addHandler(Slowly())
logging.getLogger("chatty").propagate = False

def chat():
    while True:
        logging.getLogger("chatty").warning("on and on")

def preload():
    import slow

for target in (chat, preload):
    threading.Thread(target=target, daemon=True).start()

class Logs(Job):
    name = "master.Logs"
    async def handle(self):
        import slow
        logging.getLogger("chatty").warning("from a job")
        logging.getLogger("app").warning("from a job")
        note(self, "done")
"""
)

SLOW = """
import sys, threading, time, traceback

def template_waits():
    frame = sys._current_frames()[threading.main_thread().ident]
    return {"_request", "_answer"} & {one.name for one in traceback.extract_stack(frame)}

while not template_waits():
    time.sleep(0.01)
time.sleep(1)  # the workers are asked for meanwhile
"""


@pytest.mark.fault(15)
def test_threads_at_import_are_warned_of_and_their_locks_do_not_reach_the_workers(
    make_master: Make,
) -> None:
    """Workers are forked while one thread holds a lock of logging and one that of an import."""
    running = make_master(jobs=THREADS)
    (running.folder / "slow.py").write_text(SLOW)
    running.start()
    (warning,) = events(running, "import.warning")
    assert "work starts threads when it is imported" in warning["hint"]
    for runs in (1, 2):
        push(running, "Logs")
        until(lambda runs=runs: len(lines(running, "Logs-done")) == runs, "a job that logs")
        os.kill(lines(running, "Logs-done")[-1][1], signal.SIGKILL)  # its successor is forked later
        until(lambda: len(pids(running)) == 3, "a successor")
    until(
        lambda: [one for one in events(running, "from a job") if one["logger"] == "app"],
        "the job's line",
    )
    assert events(running, "template.hangs") == []
    assert running.stop() == 0


@pytest.mark.fault(17)
def test_a_broken_import_at_the_start_and_at_a_restart(make_master: Make) -> None:
    broken = "import os\n\nos.nonsuch\n"
    running = make_master(jobs=broken).start(ready=False)
    assert running.wait() == 78
    assert "work.py:3: AttributeError" in running.output()
    assert "Traceback" not in running.output()
    assert running.processes() == []

    work = running.folder / "work.py"
    work.write_text(JOBS)
    running.start()
    before = pids(running)
    work.write_text(broken)
    refused = running.run("restart", check=False)
    assert refused.returncode == 1
    assert "work.py:3: AttributeError" in refused.stderr
    assert "Traceback" not in refused.stderr
    push(running, "Quick")
    until(lambda: lines(running, "Quick-done"), "a job of the old generation")
    assert pids(running) == before
    os.kill(min(before), signal.SIGKILL)  # and the old template still forks
    until(lambda: len(pids(running)) == 3, "a successor with the old code")
    assert running.stop() == 0


DIES = (
    JOBS
    + """
import threading

def soon():
    if os.environ.get("POOL") == "other":
        os._exit(1)

os.register_at_fork(after_in_child=lambda: threading.Timer(0.4, soon).start())
"""
)


@pytest.mark.fault(18)
def test_workers_that_die_soon_after_their_start_are_given_up(
    make_master: Make, tmp_path: Path
) -> None:
    """The figures, two seconds of life and ten of progress, stand in unit/test_restart.py."""
    quick = hurried(tmp_path, "daemon.master.restart", FIRST_DELAY=0.001)
    running = make_master(jobs=DIES, **quick).start(ready=False)
    until(lambda: events(running, "pool.fatal"), "the end of the loop")
    status = running.status()["pools"]
    assert {name: pool["state"] for name, pool in status.items()} == {
        "default": "running",
        "other": "fatal",
    }
    assert sum(status["other"]["exits"].values()) == 10
    assert status["other"]["exits"].keys() <= {"crash", "boot_error"}  # boot: before it was ready
    nexts = [one["next"] for one in events(running, "worker.crashed")]
    assert nexts[:4] == ["restart at once"] * 4
    assert all(one.startswith("restart in") for one in nexts[4:])  # BACKOFF, five times
    push(running, "Quick")
    until(lambda: lines(running, "Quick-done"), "a job of the other pool")
    assert running.stop() == 0


SLOW_IMPORT = "from pathlib import Path\nPath('importing').touch()\nimport time\ntime.sleep(600)\n"


@pytest.mark.fault(19)
@pytest.mark.parametrize("phase", ["interpreter", "lock", "import"])
def test_sigterm_during_the_start_ends_it_at_once(make_master: Make, phase: str) -> None:
    running = make_master(jobs=SLOW_IMPORT).start(ready=False)
    reached = {
        "interpreter": lambda: True,
        "lock": lambda: list(running.folder.glob("run/*.lock")),
        "import": (running.folder / "importing").exists,
    }
    until(reached[phase], "the phase")
    running.signal(signal.SIGTERM)
    code = running.wait(10)  # not the ten minutes that the import takes, nor a grace
    assert code in ({0} if phase == "import" else {0, -signal.SIGTERM})
    assert running.processes() == []


@pytest.mark.fault(24)
def test_a_taken_port_at_the_start_and_at_a_reload(make_master: Make) -> None:
    """At the start it fails before anything is forked; a reload keeps the old listener."""
    imported = "from pathlib import Path\nPath('imported').touch()\n"
    running = make_master(jobs=imported + JOBS)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        edit(running, "127.0.0.1:0", address)
        assert running.start(ready=False).wait() == 1
        assert f"queued: http.listen: {address} is in use by another program" in running.output()
        assert "Traceback" not in running.output()
        assert not (running.folder / "imported").exists()  # no template was forked

        edit(running, address, "127.0.0.1:0")
        running.start()
        old = running.address
        edit(running, "127.0.0.1:0", address)
        refused = running.run("reload", check=False)
        assert refused.returncode == 1
        assert f"{address} is in use" in refused.stderr
        assert running.address == old
        until(lambda: reload_succeeded(running) is False, "/metrics at the old address to tell")
    assert running.stop() == 0


@pytest.mark.fault(48)
def test_a_second_master_is_refused_whatever_it_calls_the_file(make_master: Make) -> None:
    first = make_master().start()
    before = set(first.processes())
    (first.folder / "link.yaml").symlink_to(first.config)
    for path in (str(first.config), "link.yaml"):
        again = first.run("start", "-c", path, check=False)
        assert again.returncode == 75
        assert again.stderr.startswith(f"queued: already running (pid {first.pid})")
    assert set(first.processes()) == before
    assert first.is_ready()  # its socket is where it was
    assert first.stop() == 0


def test_sighup_before_the_daemon_listens_to_it_is_a_reload_and_not_the_end(
    make_master: Make,
) -> None:
    running = make_master().start(ready=False)
    until(lambda: holds_hangup(running.pid), "the command to have begun", every=0.002)
    running.signal(signal.SIGHUP)
    until(running.is_ready, "the daemon")
    until(lambda: events(running, "reload.done"), "the reload")
    assert running.stop() == 0


def holds_hangup(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    (mask,) = [line.split()[1] for line in status.splitlines() if line.startswith("SigBlk")]
    return bool(int(mask, 16) & 1)
