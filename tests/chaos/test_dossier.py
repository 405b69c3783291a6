"""A job that lost its worker tells how: in its record, in the note of each run, and to people.

One daemon loses its workers to jobs of every kind at once; each test looks at one of them. Memory
is the kernel's business: that test makes a control group of its own, where it may.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from queued.jobs.queue import Queue
from tests.process.harness import Daemon, until

CONFIG = """
connection: "sqlite:///{folder}/queued.db"
imports: [work]
http: {{listen: "127.0.0.1:0"}}
log: {{format: json}}
queues:
  default: {{processes: 1, concurrency: 1, sleep: 5}}
  short: {{processes: 4, concurrency: 1, timeout: 0.2, kill_grace: 0.2, max_tries: 1, sleep: 5}}
"""
JOBS = """
import asyncio, ctypes, logging, os, time
from queued import Job

class Segfaults(Job):
    async def handle(self):
        logging.getLogger("app").warning("about to die, token=hunter2 \\x1b[31m")
        ctypes.string_at(0)  # here it ends

class Swallows(Job):
    queue = "short"
    async def handle(self):
        while True:
            try:
                await self.deeper()
            except asyncio.CancelledError:
                pass

    async def deeper(self):
        await asyncio.sleep(60)  # here it waits

class Blocks(Job):
    queue = "short"
    async def handle(self):
        time.sleep(60)  # here it blocks

class Plain(Job):
    queue = "short"
    def handle(self):
        time.sleep(60)  # here it hangs

class HoldsTheGil(Job):
    queue = "short"
    async def handle(self):
        ctypes.PyDLL(None).sleep(60)  # here it holds on

class Hoards(Job):
    async def handle(self):
        logging.getLogger("app").warning("about to hoard")
        if self.attempts > 1:
            await asyncio.sleep(600)
        hoard = []
        while True:
            hoard.append(bytearray(b"x") * (16 << 20))
"""
KILLED = ["Segfaults", "Swallows", "Blocks", "Plain", "HoldsTheGil"]


def place(comment: str) -> str:
    """Return how a stack tells of the line with a comment of the jobs' file."""
    lines = JOBS.splitlines()
    number = next(at for at, line in enumerate(lines, start=1) if line.endswith(comment))
    return f'work.py", line {number} in '


def make(folder: Path) -> Daemon:
    return Daemon(folder, CONFIG.format(folder=folder), jobs=JOBS)


def push(running: Daemon, job: str) -> str:
    answer: dict[str, str] = json.loads(
        running.run("dispatch", f"work.{job}", "{}", "--json").stdout
    )
    return answer["id"]


def failed(running: Daemon) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(running.run("failed", "list", "--json").stdout)
    return found


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, dict[str, Any]]]:
    """Yield a daemon that has lost a worker to each of ``KILLED``, and their records by name."""
    running = make(tmp_path_factory.mktemp("dossier"))
    try:
        running.start()
        for job in KILLED:
            push(running, job)
        with contextlib.closing(Queue(f"sqlite:///{running.folder}/queued.db").sync) as asked:
            names = ("default", "short")
            until(
                lambda: sum(asked.stats(name).failed for name in names) == len(KILLED),
                "every job to fail",
            )
        yield running, {one["job"].removeprefix("work."): one for one in failed(running)}
    finally:
        running.clean_up()


def events(running: Daemon, name: str) -> list[dict[str, Any]]:
    lines = (json.loads(line) for line in running.output().splitlines() if line.startswith("{"))
    return [line for line in lines if line["event"] == name]


@pytest.mark.fault(6)
def test_a_segmentation_fault_leaves_its_dossier_on_the_job(killed) -> None:
    running, found = killed
    job = found["Segfaults"]
    assert job["record"]["reason"] == "crashed"
    dossier = job["record"]["dossier"]
    assert (dossier["reason"], dossier["signal"]) == ("signal", signal.SIGSEGV)
    assert dossier["worker"] == job["record"]["worker"] == job["history"][-1]["worker"]
    assert dossier["worker"].startswith("default/")
    assert dossier["host"] == socket.gethostname()
    assert (dossier["run"], dossier["oom"]) == (3, False)
    assert dossier["peak_memory"] > 10 << 20
    assert dossier["lived"] >= dossier["ran"] >= 0
    cause, thread, *_ = dossier["stack"].split("\n\n")
    assert cause == "Fatal Python error: Segmentation fault"
    assert place("# here it ends") + "handle" in thread

    crashes = [one for one in events(running, "worker.crashed") if one["reason"] == "signal"]
    assert dossier["pid"] == crashes[-1]["pid"]
    assert crashes[-1]["how"] == "SIGSEGV"
    assert crashes[-1]["stack"] == dossier["stack"]
    assert "MiB" in crashes[-1]["peak_memory"]
    assert json.loads(running.run("status", "--json").stdout)["pools"]["default"]["exits"] == {
        "signal": 3
    }


@pytest.mark.fault(6)
def test_every_run_that_crashed_has_a_dossier_in_brief(killed) -> None:
    _, found = killed
    notes = [note["dossier"] for note in found["Segfaults"]["history"]]
    assert len({note["pid"] for note in notes}) == 3
    for note in notes:
        assert (note["signal"], note["reason"]) == (signal.SIGSEGV, "signal")
        assert place("# here it ends") in note["stack"]
        assert "log" not in note
        assert len(json.dumps(note)) < 3_000


def test_the_last_log_lines_come_without_secrets(killed) -> None:
    _, found = killed
    last = json.loads(found["Segfaults"]["record"]["dossier"]["log"][-1])
    assert last["event"] == "about to die, token=*** \x1b[31m"
    assert last["job_id"] == found["Segfaults"]["id"]
    assert last["attempt"] == 3


@pytest.mark.fault(6)
def test_failed_show_tells_it_to_people(killed) -> None:
    running, found = killed
    job = found["Segfaults"]
    text = running.run("failed", "show", job["id"]).stdout
    worker = f"worker {job['record']['worker']} on host {socket.gethostname()}"
    assert f"{worker} was killed by SIGSEGV" in text
    assert "s after the job's start, run 3; peak memory" in text
    assert "killed by the kernel for memory: no" in text
    sentence, stack, log, history = (
        text.index(one)
        for one in (
            "was killed by SIGSEGV",
            place("# here it ends"),
            "about to die, token=***",
            "run  ended",
        )
    )
    assert sentence < stack < log < history
    assert text[history:].count("SIGSEGV") == 3
    assert "\x1b" not in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("job", "comment", "function"),
    [
        ("Swallows", "# here it waits", "deeper"),
        ("Blocks", "# here it blocks", "handle"),
        ("Plain", "# here it hangs", "handle"),
        ("HoldsTheGil", "# here it holds on", "handle"),
    ],
)
def test_a_kill_at_the_deadline_leaves_every_stack(killed, job, comment, function) -> None:
    running, found = killed
    one = found[job]
    assert one["record"]["reason"] == "timed_out"
    dossier = one["record"]["dossier"]
    assert (dossier["reason"], dossier["overran"]) == ("hung", [one["id"]])
    assert place(comment) + function in dossier["stack"]
    assert "Current thread" in dossier["stack"], "and every thread's"
    assert place(comment) in one["history"][0]["dossier"]["stack"]
    (event,) = [
        event for event in events(running, "worker.crashed") if event.get("overran") == [one["id"]]
    ]
    assert set(event["stack"].split("\n\n")) == set(dossier["stack"].split("\n\n"))
    assert "in fork_for" not in dossier["stack"], "nobody asks what the worker was forked from"
    assert "past its deadline" in running.run("failed", "show", one["id"]).stdout


GROUPS = Path("/sys/fs/cgroup")
OURS = [
    (controllers, path.lstrip("/"))
    for _, controllers, path in (
        line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()
    )
]
LIMIT = 384 << 20


@contextlib.contextmanager
def within_a_limited_group(before: Path, new: Path, limit: str) -> Iterator[None]:
    """Have the processes that are started here in a control group with little memory."""
    (new / limit).write_text(str(LIMIT))
    (new / "cgroup.procs").write_text(str(os.getpid()))
    try:
        yield
    finally:
        (before / "cgroup.procs").write_text(str(os.getpid()))


@pytest.fixture
def group() -> Iterator[tuple[Path, Path, str]]:
    """Yield our control group, an empty one within it, and the name of its limit's file."""
    for controllers, path in OURS:
        if controllers and "memory" not in controllers.split(","):
            continue
        before = GROUPS / ("memory" if controllers else "") / path
        limit = "memory.limit_in_bytes" if controllers else "memory.max"
        new = before / f"queued-test-{os.getpid()}"
        try:
            new.mkdir()
        except OSError:
            continue
        try:
            if (new / limit).exists() and os.access(new / limit, os.W_OK):
                yield before, new, limit
                return
        finally:
            until(partial(_removed, new), "the control group to be empty")
    pytest.skip("no control group with a limit on memory can be made here")


def _removed(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        folder.rmdir()
    return not folder.exists()


@pytest.mark.fault(12)
def test_a_worker_that_the_kernel_kills_for_memory(tmp_path: Path, group) -> None:
    running = make(tmp_path)
    try:
        with within_a_limited_group(*group):
            running.start(ready=False)
        until(running.is_ready, "the daemon to be ready")
        job = push(running, "Hoards")
        until(lambda: "worker.crashed" in running.output(), "the kernel to kill the worker")
        note = until(lambda: first_note(running, job), "the job to tell of it")
        dossier = note["dossier"]
        assert (dossier["reason"], dossier["signal"]) == ("oom", signal.SIGKILL)
        assert dossier["oom"]
        assert LIMIT // 2 < dossier["peak_memory"] <= LIMIT
        (crash,) = events(running, "worker.crashed")
        assert (crash["reason"], crash["memory_limit"]) == ("oom", "384 MiB")
        status = running.run("status").stdout
        assert "oom 1" in status
        assert "killed by the kernel for memory; peak memory" in status
        text = running.run("job", job).stdout
        assert "killed by the kernel for memory: yes" in text
    finally:
        running.clean_up()


def first_note(running: Daemon, job: str) -> dict[str, Any] | None:
    history = json.loads(running.run("job", job, "--json").stdout)["history"]
    return history[0] if history else None
