"""SQLite's file: locked by another program, cut by a power loss or a full disk, left by a kill.

A power loss itself cannot be injected: it loses what was not synced, which for a file that is only
appended to is a tail. So the write-ahead log is cut at any byte, as such a loss would.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from queued.drivers.base import Ack, Lane, NewJob, Reservation, Settlement, State
from queued.drivers.sql import sqlite_file
from queued.drivers.sql.enqueue import enqueue
from queued.drivers.sql.exchange import Wanted, exchange
from queued.drivers.sql.schema import STATES
from queued.drivers.sql.sqlite_file import SqliteFile
from queued.errors import DriverUnavailable
from tests.contract.steps import ME, Q, ack, fail, names, release, retry
from tests.contract.test_sql_processes import counted
from tests.process.harness import Daemon, until

ROUNDS = 15
MIX = (ack, retry, lambda job: retry(job, 3600), release, fail)
JOBS = """
import os, time
from queued import Job

class Note(Job):
    path: str

    def handle(self):
        open(f"{self.path}-began", "a").close()
        while not os.path.exists(f"{self.path}-go"):
            time.sleep(0.01)
        with open(self.path, "a") as file:
            file.write(f"{self.job_id}\\n")
"""
CONFIG = """
connection: "sqlite:///queued.db"
imports: [work]
http: {listen: "127.0.0.1:0"}
queues:
  emails: {processes: 2, concurrency: 5, sleep: 600}
"""


@pytest.fixture
def file(tmp_path: Path) -> Iterator[SqliteFile]:
    file = SqliteFile(tmp_path / "queued.db")
    yield file
    file.close()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path, CONFIG, jobs=JOBS)
    yield daemon.start()
    daemon.clean_up()


def push(file: SqliteFile, *ids: str, payload: bytes = b"x" * 100) -> None:
    batch = [NewJob(job_id, payload) for job_id in ids]
    assert all(file.write(lambda session: enqueue(session, Q, batch)))


def mixed(held: list[Reservation]) -> list[Settlement]:
    """Settle in every way there is, job after job."""
    return [MIX[job.fence % len(MIX)](job) for job in held]


def work(file: SqliteFile, settlements: list[Settlement], want: int) -> list[Reservation]:
    """Settle what is held, and reserve more."""
    wanted = Wanted(want, 0, 30.0, Lane.NORMAL)
    answer = file.write(lambda session: exchange(session, Q, ME, settlements, wanted))
    assert answer is not None
    assert answer.lost == []
    return answer.jobs


def processor_seconds(pids: list[int]) -> float:
    total = 0.0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


@pytest.mark.fault(44)
def test_a_daemon_waits_while_another_program_keeps_the_lock(
    running: Daemon, file: SqliteFile, tmp_path: Path
) -> None:
    """Longer than a verb waits: producers are told, workers neither spin nor fail a job."""
    notes = tmp_path / "notes"
    payload = b'{"v":1,"job":"work.Note"}\n{"path":"%s"}' % str(notes).encode()

    def done() -> list[str]:
        return sorted(notes.read_text().split()) if notes.exists() else []

    running.until_staffed()
    push(file, *names(100), payload=payload)
    until(Path(f"{notes}-began").exists, "the first job")
    with contextlib.closing(sqlite3.connect(file.path, isolation_level=None, timeout=60)) as other:
        other.execute("BEGIN IMMEDIATE")
        Path(f"{notes}-go").touch()
        until(done, "a job to end")  # the workers have something to tell, and to ask for
        before = processor_seconds(running.processes())
        began = time.monotonic()
        with pytest.raises(DriverUnavailable, match="kept it locked"):
            push(file, "refused", payload=payload)  # while the lock is still held
        spent = processor_seconds(running.processes()) - before
        assert spent < 0.5 * (time.monotonic() - began)  # a spinning thread would have it all
        assert len(done()) < 100  # nobody gets another job
        other.execute("ROLLBACK")
    push(file, "after", payload=payload)
    expected = sorted([*names(100), "after"])
    until(lambda: done() == expected, "all jobs, each once, after the lock was released")
    until(lambda: counted(file.path) == {Q: (0, 0, 0, 0)}, "an empty queue: nothing failed")


def forked(act: Callable[[int], None]) -> tuple[int, int]:
    """Run ``act`` in a child with the write end of a pipe; return its pid and the read end."""
    read_end, write_end = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside idle threads
        child = os.fork()
    if child == 0:
        try:
            act(write_end)
        finally:
            os._exit(1)
    os.close(write_end)
    return child, read_end


def whole(path: Path) -> set[str]:
    """Return the ids of the jobs that are there, each once, and all of it in one state."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT id, state, owner, reserved_at FROM queued_jobs")
        jobs = [(id_, STATES[state], *rest) for id_, state, *rest in rows]
        records = [id_ for (id_,) in connection.execute("SELECT id FROM queued_failed")]
    reserved = {id_ for id_, state, *_ in jobs if state is State.RESERVED}
    assert {id_ for id_, _, owner, _ in jobs if owner is not None} == reserved
    assert {id_ for id_, *_, since in jobs if since is not None} == reserved
    assert sorted(records) == sorted(id_ for id_, state, *_ in jobs if state is State.FAILED)
    here = {id_ for id_, *_ in jobs}
    assert len(here) == len(jobs)
    return here


@pytest.mark.fault(44)
def test_kills_in_the_middle_of_transactions(file: SqliteFile) -> None:
    """After each kill every job is there once, in one state, unless it was acknowledged."""
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    told = {sign: set[str]() for sign in "+?-"}
    """What was pushed, what was about to be acknowledged, what has been."""

    def act(round_: int, pipe: int) -> None:
        def tell(sign: str, ids: list[str]) -> None:
            os.write(pipe, f"{sign} {' '.join(ids)}\n".encode())

        own, held = SqliteFile(file.path), list[Reservation]()
        for number in range(10_000):
            ids = [f"{round_}-{number}-{n}" for n in range(20)]
            push(own, *ids)
            tell("+", ids)
            settlements = mixed(held)
            done = [one.id for one in settlements if isinstance(one, Ack)]
            tell("?", done)
            held = work(own, settlements, 10)
            tell("-", done)

    known = set[str]()
    for round_ in range(ROUNDS):
        child, pipe = forked(lambda end, r=round_: act(r, end))  # type: ignore[misc]
        with os.fdopen(pipe, encoding="ascii") as pipe_end:
            lines, heard = map(str.split, pipe_end), list[list[str]]()
            for line in lines:
                heard.append(line)
                if line[0] == "-" and line[1:]:
                    break
            time.sleep(rng.uniform(0, 0.03))  # it has settled some, and goes on
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            assert os.WIFSIGNALED(status), "it ended by itself"
            heard += lines
        for sign, *ids in heard:
            told[sign].update(ids)
        known |= told["+"]
        counted(file.path)
        here = whole(file.path)
        assert not known - told["?"] - here, "lost"
        assert not told["-"] & here, "acknowledged, and here again"
        assert len(here - known) in (0, 20)  # a batch that the child had no time to tell
        known |= here
    assert min(map(len, told.values())) > 0


@pytest.mark.fault(26)
def test_a_log_that_lost_its_tail_holds_whole_transactions(
    file: SqliteFile, tmp_path: Path
) -> None:
    """Cut anywhere: what was acknowledged before the cut is there, and nothing after it."""
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    wal = file.path.with_name("queued.db-wal")
    ends, states = [], []
    held: list[Reservation] = []
    for number in range(30):
        push(file, *names(5, f"batch-{number}"))
        ends.append(wal.stat().st_size)
        states.append(counted(file.path)[Q])
        held = work(file, mixed(held), 3)
        ends.append(wal.stat().st_size)
        states.append(counted(file.path)[Q])
    assert ends == sorted(set(ends))  # nothing was written back into the file meanwhile
    before, log = file.path.read_bytes(), wal.read_bytes()
    cuts = [
        *rng.choices(range(ends[0], len(log)), k=30),
        *(end - 1 for end in ends[1:4]),
        *ends[:4],
    ]
    for number, cut in enumerate(cuts):
        copy = tmp_path / f"copy-{number}" / "queued.db"
        copy.parent.mkdir()
        copy.write_bytes(before)
        copy.with_name("queued.db-wal").write_bytes(log[:cut])
        last = max(index for index, end in enumerate(ends) if end <= cut)
        whole(copy)
        assert counted(copy)[Q] == states[last]
        again = SqliteFile(copy)  # and the queue goes on from there
        push(again, "new")
        again.close()
        assert sum(counted(copy)[Q]) == sum(states[last]) + 1


@pytest.mark.fault(43)
def test_a_disk_that_is_full_loses_nothing_that_was_acknowledged(
    file: SqliteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No byte can be added to any file: the limit stands in for the disk."""
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT", 0.2)
    push(file, "first")

    def act(pipe: int) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
        own = SqliteFile(file.path)
        for number in range(1000):
            try:
                push(own, f"job-{number}", payload=b"x" * 1000)
            except DriverUnavailable as error:
                os.write(pipe, f"! {error}\n".encode())
                break
            os.write(pipe, f"+ job-{number}\n".encode())
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        push(own, "when-there-is-room")
        os.write(pipe, b"+ when-there-is-room\n")

    child, pipe = forked(act)
    with os.fdopen(pipe, encoding="ascii") as lines:
        *acknowledged, last = [line.split(maxsplit=1) for line in lines]
    os.waitpid(child, 0)
    [refusal] = [text for sign, text in acknowledged if sign == "!"]
    assert str(file.path) in refusal
    assert last == ["+", "when-there-is-room\n"]
    told = {text.strip() for sign, text in [*acknowledged, last] if sign == "+"} | {"first"}
    with contextlib.closing(sqlite3.connect(file.path)) as connection:
        here = {job_id for (job_id,) in connection.execute("SELECT id FROM queued_jobs")}
    assert here == told
    counted(file.path)
