"""SQLite's file: locked by another program, cut by a power loss or a full disk, left by a kill.

A power loss itself cannot be injected: it loses what was not synced, which for a file that is only
appended to is a tail. So the write-ahead log is cut at any byte, as such a loss would.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import select
import signal
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from queued.drivers.base import Lane, NewJob, Reservation
from queued.drivers.sql import sqlite_file
from queued.drivers.sql.enqueue import enqueue
from queued.drivers.sql.exchange import Wanted, exchange
from queued.drivers.sql.sqlite_file import SqliteFile
from queued.errors import DriverUnavailable
from tests.contract.steps import ME, Q, ack, names
from tests.contract.test_sql_processes import counted
from tests.process.harness import Daemon, until

ROUNDS = 25
JOBS = """
import time
from queued import Job

class Note(Job):
    path: str

    def handle(self):
        time.sleep(0.1)
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


def work(file: SqliteFile, held: list[Reservation], want: int) -> list[Reservation]:
    """Acknowledge what is held, and reserve more."""
    done, wanted = [ack(job) for job in held], Wanted(want, 0, 30.0, Lane.NORMAL)
    answer = file.write(lambda session: exchange(session, Q, ME, done, wanted))
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

    push(file, *names(100), payload=payload)
    until(lambda: len(done()) >= 1, "the first job")
    with contextlib.closing(sqlite3.connect(file.path, isolation_level=None, timeout=60)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert len(done()) < 100  # the workers have something to tell, and to ask for
        before = processor_seconds(running.processes())
        began = time.monotonic()
        with pytest.raises(DriverUnavailable, match="kept it locked"):
            push(file, "refused", payload=payload)  # while the lock is still held
        spent = processor_seconds(running.processes()) - before
        assert spent < 0.5 * (time.monotonic() - began)  # a spinning thread would have it all
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


@pytest.mark.fault(44)
def test_kills_in_the_middle_of_transactions(file: SqliteFile, tmp_path: Path) -> None:
    """Every acknowledged push is there, every acknowledged job gone; the counts are exact."""
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    pushed, done = set[str](), set[str]()

    def act(round_: int, pipe: int) -> None:
        own, held = SqliteFile(file.path), list[Reservation]()
        for number in range(10_000):
            ids = [f"{round_}-{number}-{n}" for n in range(20)]
            push(own, *ids)
            os.write(pipe, f"+ {' '.join(ids)}\n".encode())
            finished, held = held, work(own, held, 10)
            os.write(pipe, f"- {' '.join(job.id for job in finished)}\n".encode())

    for round_ in range(ROUNDS):
        child, pipe = forked(lambda end, r=round_: act(r, end))  # type: ignore[misc]
        select.select([pipe], [], [], 30)  # it works now
        time.sleep(rng.uniform(0, 0.04))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with os.fdopen(pipe, encoding="ascii") as lines:
            for sign, *ids in map(str.split, lines):
                (pushed if sign == "+" else done).update(ids)
        counted(file.path)
    with contextlib.closing(sqlite3.connect(file.path)) as connection:
        here = {job_id for (job_id,) in connection.execute("SELECT id FROM queued_jobs")}
    assert not done & here
    # what the file took, and the child had no time to tell: one batch at each kill
    assert len(pushed - done - here) <= ROUNDS * 10


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
        held = work(file, held, 3)
        ends.append(wal.stat().st_size)
        states.append(counted(file.path)[Q])
    assert ends == sorted(set(ends))  # nothing was written back into the file meanwhile
    whole, log = file.path.read_bytes(), wal.read_bytes()
    cuts = [
        *rng.choices(range(ends[0], len(log)), k=30),
        *(end - 1 for end in ends[1:4]),
        *ends[:4],
    ]
    for number, cut in enumerate(cuts):
        copy = tmp_path / f"copy-{number}" / "queued.db"
        copy.parent.mkdir()
        copy.write_bytes(whole)
        copy.with_name("queued.db-wal").write_bytes(log[:cut])
        last = max(index for index, end in enumerate(ends) if end <= cut)
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
