"""Faults around the master: killed, stopped, started twice, misconfigured; the real daemon."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from queued import Job, Queue
from queued.daemon.master.control import ControlClient
from queued.errors import ControlError
from tests.process.harness import QUEUED, Daemon, is_alive, until
from tests.process.test_master_notify import Manager

CONFIG = """
connection: sqlite:///queued.db
imports: [work]
http: {listen: "127.0.0.1:0"}
log: {format: json}
shutdown_grace: 600s
queues:
  default: {processes: 2, concurrency: 1, sleep: 5}
  other: {processes: 1, sleep: 5, env: {POOL: other}}
"""
JOBS = """
import asyncio, ctypes, os
from pathlib import Path
from queued import Job

def note(job, what):
    with open(f"{type(job).__name__}-{what}", "a") as file:
        file.write(f"{job.job_id} {os.getpid()}\\n")

class Slow(Job):
    name = "master.Slow"
    async def handle(self):
        note(self, "began")
        while not Path("release").exists():
            await asyncio.sleep(0.01)
        note(self, "done")

class Quick(Job):
    name = "master.Quick"
    async def handle(self):
        note(self, "done")

class HoldsTheGil(Job):
    name = "master.HoldsTheGil"
    async def handle(self):
        note(self, "began")
        if not Path("release").exists():
            ctypes.PyDLL(None).sleep(600)
        note(self, "done")
"""


def kind(label: str) -> type[Job]:
    """Return the producer's side of a job, whose code only the daemon has."""

    class Kind(Job):
        name = f"master.{label}"

        async def handle(self) -> None: ...

    return Kind


KINDS = {label: kind(label) for label in ("Slow", "Quick", "HoldsTheGil", "Logs", "Chats")}


class Quickly(Daemon):
    """Asked by this process itself: a command takes most of a second."""

    def status(self) -> dict[str, Any]:
        return ControlClient(self.config, self.environment).request("status", timeout=30.0)

    def is_ready(self) -> bool:
        try:
            return super().is_ready()
        except ControlError:
            return False


Make = Callable[..., Daemon]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Make a daemon that is killed, whatever happened, when the test ends."""
    made: list[Daemon] = []

    def daemon(config: str = CONFIG, jobs: str = JOBS, **environment: str) -> Daemon:
        made.append(Quickly(tmp_path, config, jobs=jobs, **environment))
        return made[-1]

    yield daemon
    for one in made:
        one.clean_up()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """A service manager that listens, for ``NOTIFY_SOCKET``."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.setblocking(False)
        yield Manager(sock)


def hurried(folder: Path, module: str, **constants: float) -> dict[str, str]:
    """Return the environment in which a module of the daemon has other constants."""
    site = folder / "site"
    site.mkdir()
    lines = [
        f"import queued.{module} as module",
        *(f"module.{k} = {v}" for k, v in constants.items()),
    ]
    (site / "sitecustomize.py").write_text("\n".join(lines))
    return {"PYTHONPATH": str(site)}


def push(running: Daemon, label: str, queue: str | None = None) -> str:
    async def pushed() -> str:
        async with Queue(f"sqlite:///{running.folder}/queued.db") as producer:
            return (await producer.push(KINDS[label](), queue=queue)).id

    return asyncio.run(pushed())


def lines(running: Daemon, name: str) -> list[tuple[str, int]]:
    """Return (id, pid) of what the jobs have noted."""
    path = running.folder / name
    words = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [(job_id, int(pid)) for job_id, pid in words]


def events(running: Daemon, name: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in running.output().splitlines() if line.startswith("{")]
    return [line for line in found if line["event"] == name]


def pids(running: Daemon, pool: str | None = None) -> set[int]:
    return {one["pid"] for one in running.workers(pool) if one["state"] == "running"}


def edit(running: Daemon, old: str, new: str) -> None:
    text = running.config.read_text()
    assert old in text
    running.config.write_text(text.replace(old, new))


def reload_succeeded(running: Daemon) -> bool | None:
    """Return what /metrics says of the last reload."""
    values = [
        line.split()[1]
        for line in running.get("/metrics")[1].splitlines()
        if line.startswith("queued_config_last_reload_successful ")
    ]
    return float(values[0]) == 1 if values else None


# killed, and standing still


@pytest.mark.fault(3)
def test_a_killed_master_takes_all_along_and_its_successor_finds_every_job(make: Make) -> None:
    """Even a worker whose GIL is held goes, before a new one takes a job: no double pool."""
    running = make().start()
    jobs = {push(running, "Slow"), push(running, "Slow"), push(running, "HoldsTheGil", "other")}
    until(lambda: len(lines(running, "Slow-began")) == 2, "two jobs")
    until(lambda: lines(running, "HoldsTheGil-began"), "a job that holds the GIL")
    before = running.processes()
    assert len(before) == 6  # master, template, monitor, three workers

    running.signal(signal.SIGKILL)
    running.wait()
    running.start(ready=False)  # at once: neither lock nor socket of the dead one are in the way
    until(lambda: not any(map(is_alive, before)), "everybody to be gone", seconds=5)
    until(running.is_ready, "the new daemon")
    until(lambda: len(lines(running, "Slow-began")) == 4, "both jobs to run again")
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


@pytest.mark.fault(4)
def test_a_master_that_stands_still_gives_no_signs_of_life_and_holds_nobody_up(
    make: Make, manager: Manager, tmp_path: Path
) -> None:
    """The service manager's watchdog ends it; until then jobs run and leases are renewed."""
    running = make(
        NOTIFY_SOCKET=str(tmp_path / "notify"),
        WATCHDOG_USEC="200000",
        **hurried(tmp_path, "daemon.monitor.janitor", RENEW_EVERY=0.2),
    ).start()
    push(running, "Slow")
    until(lambda: lines(running, "Slow-began"), "a job")
    until(lambda: manager.heard("WATCHDOG=1"), "a sign of life")
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


# starts


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
    make: Make,
) -> None:
    """Workers are forked while one thread holds a lock of logging and one that of an import."""
    running = make(jobs=THREADS)
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
def test_a_broken_import_at_the_start_and_at_a_restart(make: Make) -> None:
    broken = "import os\n\nos.nonsuch\n"
    running = make(jobs=broken).start(ready=False)
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
def test_workers_that_die_soon_after_their_start_are_given_up(make: Make, tmp_path: Path) -> None:
    """The figures, two seconds of life and ten of progress, stand in unit/test_restart.py."""
    quick = hurried(tmp_path, "daemon.master.restart", FIRST_DELAY=0.001)
    running = make(jobs=DIES, **quick).start(ready=False)
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
def test_sigterm_during_the_start_ends_it_at_once(make: Make, phase: str) -> None:
    running = make(jobs=SLOW_IMPORT).start(ready=False)
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
def test_a_taken_port_at_the_start_and_at_a_reload(make: Make) -> None:
    """At the start it fails before anything is forked; a reload keeps the old listener."""
    imported = "from pathlib import Path\nPath('imported').touch()\n"
    running = make(jobs=imported + JOBS)
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
def test_a_second_master_is_refused_whatever_it_calls_the_file(make: Make) -> None:
    first = make().start()
    before = set(first.processes())
    (first.folder / "link.yaml").symlink_to(first.config)
    for path in (str(first.config), "link.yaml"):
        again = first.run("start", "-c", path, check=False)
        assert again.returncode == 75
        assert again.stderr.startswith(f"queued: already running (pid {first.pid})")
    assert set(first.processes()) == before
    assert first.is_ready()  # its socket is where it was
    assert first.stop() == 0


# stops


def waits_again(running: Daemon, job_id: str) -> None:
    """Hold that a job has been handed back, and nothing was charged for it."""
    job = json.loads(running.run("job", job_id, "--json").stdout)
    assert job["state"] == "ready"
    counts = job["counts"]
    assert (counts["tries"], counts["crashes"], counts["releases"]) == (0, 0, 1)


@pytest.mark.fault(20)
def test_the_second_sigterm_hands_back_what_runs(
    make: Make, manager: Manager, tmp_path: Path
) -> None:
    running = make(NOTIFY_SOCKET=str(tmp_path / "notify")).start()
    job_id = push(running, "Slow")
    until(lambda: lines(running, "Slow-began"), "a job")
    ((_, worker),) = lines(running, "Slow-began")
    running.signal(signal.SIGTERM)
    until(lambda: pids(running, "other") == set(), "the idle workers to go")
    assert is_alive(worker)
    running.signal(signal.SIGTERM)
    assert running.wait() == 0  # far from the ten minutes of grace
    assert manager.heard("STOPPING=1")
    assert running.processes() == []
    waits_again(running, job_id)


@pytest.mark.fault(21)
def test_a_job_that_outlives_the_grace_is_handed_back(
    make: Make, manager: Manager, tmp_path: Path
) -> None:
    config = CONFIG.replace("600s", "500ms")
    running = make(config, NOTIFY_SOCKET=str(tmp_path / "notify")).start()
    job_id = push(running, "Slow")
    until(lambda: lines(running, "Slow-began"), "a job")
    assert running.stop() == 0
    (stopping,) = manager.heard("STOPPING=1")
    assert "EXTEND_TIMEOUT_USEC=" in stopping
    assert running.processes() == []
    waits_again(running, job_id)


# reloads


@pytest.mark.fault(22)
def test_a_reload_with_a_broken_file_changes_nothing_and_shows_in_the_metrics(make: Make) -> None:
    running = make().start()
    before = running.processes()
    assert reload_succeeded(running) is True
    for broken in ("default: {processes: 2, concurency: 9", "default: ["):
        good = running.config.read_text()
        edit(running, "default: {processes: 2, concurrency: 1", broken)
        known = len(events(running, "reload.failed"))
        running.signal(signal.SIGHUP)
        until(lambda known=known: len(events(running, "reload.failed")) > known, "the error")
        assert "queue.yaml:8" in events(running, "reload.failed")[-1]["error"]
        until(lambda: reload_succeeded(running) is False, "/metrics to tell")
        running.config.write_text(good)
    assert running.processes() == before
    assert {one["slots"] for one in running.workers("default")} == {1}
    push(running, "Quick")
    until(lambda: lines(running, "Quick-done"), "a job, as before")
    running.signal(signal.SIGHUP)
    until(lambda: reload_succeeded(running), "/metrics to tell of the good file")
    assert running.stop() == 0


@pytest.mark.fault(23)
def test_a_pool_that_shrinks_drains_and_no_job_is_cut_short(make: Make) -> None:
    running = make().start()
    push(running, "Slow")
    push(running, "Slow")
    until(lambda: len(lines(running, "Slow-began")) == 2, "both workers to be busy")
    busy = {pid for _, pid in lines(running, "Slow-began")}
    edit(running, "default: {processes: 2", "default: {processes: 1")
    running.signal(signal.SIGHUP)
    until(lambda: {"stopping"} <= {one["state"] for one in running.workers("default")}, "a drain")
    push(running, "Quick")  # nobody is free for it
    assert all(map(is_alive, busy))
    assert lines(running, "Slow-done") == lines(running, "Quick-done") == []
    (running.folder / "release").touch()
    until(lambda: len(running.workers("default")) == 1, "one worker to be left")
    until(lambda: lines(running, "Quick-done"), "its next job")
    assert sorted(lines(running, "Slow-done")) == sorted(lines(running, "Slow-began"))
    assert running.status()["pools"]["default"]["exits"] == {"drained": 1}
    assert running.stop() == 0


# what nobody may hold up


def test_sighup_before_the_daemon_listens_to_it_is_a_reload_and_not_the_end(make: Make) -> None:
    running = make().start(ready=False)
    until(lambda: holds_hangup(running.pid), "the command to have begun", every=0.002)
    running.signal(signal.SIGHUP)
    until(running.is_ready, "the daemon")
    until(lambda: events(running, "reload.done"), "the reload")
    assert running.stop() == 0


def holds_hangup(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    (mask,) = [line.split()[1] for line in status.splitlines() if line.startswith("SigBlk")]
    return bool(int(mask, 16) & 1)


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


def test_a_log_that_nobody_reads_holds_nobody_up(make: Make) -> None:
    running = make(jobs=CHATTY)
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
