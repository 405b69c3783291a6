"""A worker as a process: real signals, real forks, a master that is this test."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from queued.daemon.channel import Channel
from queued.daemon.scoreboard import Scoreboard, SlotState
from queued.daemon.spec import LimitsSpec, LogSpec, OwnerName, WorkerSpec
from queued.drivers import driver_for
from queued.drivers.base import Counts, JobInfo, NewJob
from queued.jobs.ids import new_id
from queued.jobs.job import Job
from queued.jobs.payload import encode
from tests.process import worker_jobs as jobs
from tests.process.harness import is_alive, until

QUEUE = "tests"
ROOT = Path(__file__).parents[2]


class Process:
    """One worker process, its back-end, and the master's ends of what it shares."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder}/queued.db"
        self.ledger = folder / "ledger"
        self.ledger.touch()
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self.channel: Channel | None = None
        self.board: Scoreboard | None = None

    def push(self, *new: Job) -> list[str]:
        ids = [new_id() for _ in new]

        async def push() -> None:
            driver = driver_for(self.url)
            await driver.open()
            batch = [NewJob(i, encode(job)) for i, job in zip(ids, new, strict=True)]
            await driver.enqueue(QUEUE, batch)
            await driver.close()

        asyncio.run(push())
        return ids

    def find(self, job_id: str) -> JobInfo | None:
        async def find() -> JobInfo | None:
            driver = driver_for(self.url)
            await driver.open()
            try:
                return await driver.find(job_id, QUEUE)
            finally:
                await driver.close()

        return asyncio.run(find())

    def start(self, *, standalone: bool = False, timeout: float = 3600, **values: Any) -> None:
        spec = WorkerSpec(
            owner=str(OwnerName("aaaaaaaa", "bbbbbbbb", QUEUE, 1, 1)),
            pool=QUEUE,
            index=1,
            generation=1,
            url=self.url,
            standalone=standalone,
            limits=LimitsSpec(timeout=timeout),
            log=LogSpec(format="json"),
            **values,
        )
        program = [sys.executable, "-m", "tests.process.worker_jobs", spec.to_json()]
        fds: list[int] = []
        if not standalone:
            self.channel, theirs = Channel.pair()
            self.board = Scoreboard.create(spec.concurrency)
            fds = [theirs.fileno(), self.board.fd]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*program, *map(str, fds)],
                cwd=ROOT,
                env={**os.environ, "LEDGER": str(self.ledger)},
                pass_fds=fds,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
            )
        if not standalone:
            theirs.close()

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def end(self) -> int:
        assert self.process
        return self.process.wait(60)

    def words(self) -> list[str]:
        return [line.split()[-1] for line in self.ledger.read_text().splitlines()]

    def until_word(self, word: str) -> str:
        """Wait for a line of the ledger that begins so; return what follows in it."""
        found = until(
            lambda: [one for one in self.words() if one.startswith(word)],
            f"{word} in the ledger; log: {self.log.read_text()}",
        )
        return found[0].removeprefix(word)

    def frames(self) -> list[dict[str, Any]]:
        assert self.channel
        return self.channel.receive()

    def close(self) -> None:
        if self.process:
            if self.process.poll() is None:
                os.killpg(self.pid, signal.SIGKILL)
            self.process.wait()
        for one in (self.channel, self.board):
            if one:
                one.close()


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Process]:
    one = Process(tmp_path)
    yield one
    one.close()


def test_it_runs_jobs_and_sigterm_drains_it(worker: Process) -> None:
    worker.push(jobs.Sleeps(seconds=0.3), *[jobs.Quick() for _ in range(20)])
    worker.start()
    worker.until_word("begun")
    worker.signal(signal.SIGTERM)
    assert worker.end() == 0
    assert worker.words().count("ended") == 1
    frames = worker.frames()
    assert frames[0] == {"type": "ready"}
    assert frames[-1] == {"type": "leaving", "reason": "drained"}
    assert frames[-2]["type"] == "snapshot"


@pytest.mark.parametrize("standalone", [False, True])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_told_just_before_its_loop_begins_it_ends(
    worker: Process, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, *, standalone: bool
) -> None:
    """It ran on until it was told once more, or its grace was over."""
    monkeypatch.setenv("TOLD_BEFORE_ITS_LOOP", str(int(number)))
    worker.start(standalone=standalone)
    assert worker.end() in {0, -number}


def test_what_outlives_the_grace_is_handed_back(worker: Process) -> None:
    [asleep, stuck] = worker.push(jobs.Sleeps(), jobs.Thread())
    worker.start(shutdown_grace=0.2)
    until(lambda: worker.words().count("begun") == 2, "both runs")
    worker.signal(signal.SIGTERM)
    assert worker.end() == 0
    for job_id in (asleep, stuck):
        info = worker.find(job_id)
        assert info is not None
        assert info.counts == Counts(releases=1)
        assert info.ready_at is not None


def ended(worker: Process, number: int) -> bool:
    """Signal it once more, since two signals in a row may arrive as one."""
    assert worker.process
    if worker.process.poll() is None:
        worker.signal(number)
    return worker.process.poll() is not None


@pytest.mark.parametrize("how", ["SIGQUIT", "SIGTERM twice", "SIGINT twice", "the master's end"])
def test_it_can_be_made_to_end_now(worker: Process, how: str) -> None:
    [job_id] = worker.push(jobs.Sleeps())
    worker.start(shutdown_grace=3600)
    worker.until_word("begun")
    match how.split():
        case [name]:
            worker.signal(getattr(signal, name))
        case [name, "twice"]:
            until(lambda: ended(worker, getattr(signal, name)), "its end", every=0.2)
        case _:
            assert worker.channel
            worker.channel.close()
    assert worker.end() == 0
    info = worker.find(job_id)
    assert info is not None
    assert info.counts == Counts(releases=1)


def test_a_worker_without_a_backend_ends_when_told(worker: Process) -> None:
    worker.url = "redis://127.0.0.1:1/0"
    worker.start()
    until(worker.frames, "a word to the master")
    worker.signal(signal.SIGTERM)
    assert worker.end() == 0


def test_a_killed_worker_leaves_its_scoreboard(worker: Process) -> None:
    [dies, other] = worker.push(jobs.Dies(), jobs.Sleeps())
    worker.start()
    assert worker.end() == -signal.SIGKILL
    assert worker.board
    slots = {slot.job_id: slot for slot in worker.board.read()}
    assert slots[dies].state is SlotState.RUNNING
    assert slots[dies].job == "process.dies"
    assert other in slots or "begun" in worker.words()
    until(lambda: worker.frames() == [] and worker.channel.closed, "the end of the channel")


def test_a_process_that_a_job_forked_has_nothing_of_the_workers(worker: Process) -> None:
    worker.push(jobs.Forks())
    worker.start()
    child = int(worker.until_word("child="))
    worker.push(jobs.Quick())
    os.kill(child, signal.SIGTERM)
    worker.until_word("quick")  # the worker took it for none of its business
    assert worker.process.poll() is None

    worker.push(jobs.Forks())
    until(lambda: len([w for w in worker.words() if w.startswith("child=")]) == 2, "another child")
    child = int(worker.words()[-1].removeprefix("child="))
    os.kill(worker.pid, signal.SIGKILL)
    until(lambda: worker.frames() == [] and worker.channel.closed, "the end of the channel")
    assert is_alive(child)
    os.kill(child, signal.SIGKILL)


def test_a_fork_in_a_thread_of_a_job_neither(worker: Process) -> None:
    worker.push(jobs.ForksInThread())
    worker.start()
    child = int(worker.until_word("child="))
    os.kill(child, signal.SIGTERM)
    worker.until_word("reaped")
    assert worker.process.poll() is None
    worker.push(jobs.Quick())
    worker.until_word("quick")


@pytest.mark.parametrize(
    "job",
    [jobs.Strays(), jobs.Strays(awaits=True), jobs.StraysInThread()],
    ids=["async", "awaits", "plain"],
)
def test_a_fork_that_returns_to_us_is_no_second_worker(worker: Process, job: Job) -> None:
    [job_id, *_] = worker.push(job, *[jobs.Quick() for _ in range(5)])
    worker.start(sleep=0.05)
    assert worker.until_word("status=") == "70"
    until(lambda: worker.find(job_id) is None, "the job to be done")
    until(lambda: worker.words().count("quick") == 5, "its neighbours")
    worker.push(jobs.Quick())
    until(lambda: worker.words().count("quick") == 6, "the worker to go on")
    assert len({line.split()[1] for line in worker.ledger.read_text().splitlines()}) == 1
    assert "unreachable" not in worker.log.read_text()


def test_a_leak_has_it_replaced_between_jobs(worker: Process) -> None:
    worker.push(*[jobs.Grows() for _ in range(100)])
    worker.start(max_memory=400 << 20, concurrency=1)
    assert worker.end() == 0
    assert worker.frames()[-1] == {"type": "leaving", "reason": "max_memory"}
    assert worker.words().count("begun") < 100


def test_it_has_the_pools_environment_and_niceness(worker: Process) -> None:
    worker.push(jobs.Environment())
    worker.start(env={"MINE": "yes"}, nice=3)
    niceness = os.getpriority(os.PRIO_PROCESS, 0) + 3
    assert worker.until_word("yes:") == str(min(niceness, 19))


# queued work


def test_ctrl_c_drains_a_worker_in_the_foreground(worker: Process) -> None:
    worker.push(jobs.Sleeps(seconds=0.3))
    worker.start(standalone=True)
    worker.until_word("begun")
    worker.signal(signal.SIGINT)
    assert worker.end() == 0
    assert "ended" in worker.words()


def test_in_the_foreground_max_jobs_ends_it(worker: Process) -> None:
    worker.push(jobs.Quick(), jobs.Quick())
    worker.start(standalone=True, max_jobs=1)
    assert worker.end() == 0
    assert worker.words() == ["quick"]


def test_in_the_foreground_a_thread_that_hangs_ends_it(worker: Process) -> None:
    [stuck, other] = worker.push(jobs.Thread(), jobs.Sleeps())
    worker.start(standalone=True, timeout=1, kill_grace=0.2)
    assert worker.end() == 70
    info = worker.find(stuck)
    assert info is not None
    assert info.counts.timeouts == 1
    assert "Thread" in worker.log.read_text()
    assert worker.find(other) is not None


def test_in_the_foreground_a_thread_that_hangs_does_not_hold_up_the_end(worker: Process) -> None:
    [job_id] = worker.push(jobs.Thread())
    worker.start(standalone=True, shutdown_grace=0.1)
    worker.until_word("begun")
    worker.signal(signal.SIGTERM)
    assert worker.end() == 0
    info = worker.find(job_id)
    assert info is not None
    assert info.counts == Counts(releases=1)


def test_in_the_foreground_a_job_that_holds_the_interpreter_for_good_ends_it(
    worker: Process,
) -> None:
    worker.push(jobs.HoldsTheGil())  # from its first step on: no thread of ours gets a turn
    worker.start(standalone=True, timeout=0.2, kill_grace=0.1)
    assert worker.end() == 1
    assert "Timeout" in worker.log.read_text()
    assert "worker_jobs.py" in worker.log.read_text()
