"""Faults of workers and of the jobs in them: what becomes of the job, its neighbours, its worker.

The module's tests share a daemon, each with a pool of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path

import pytest

from queued.daemon.metrics import Metrics
from queued.daemon.monitor.janitor import Janitor
from queued.drivers.base import Counts, Driver, State
from queued.errors import DriverUnavailable
from tests.chaos.crew import Crew
from tests.process.harness import (
    is_alive,
    signal_all,
    stopped_between_transactions,
    until,
)

QUEUES = """
  killed: {sleep: 60, concurrency: 3}
  ExitsZero: {sleep: 60, concurrency: 1}
  Segfault: {sleep: 60, concurrency: 1}
  Closes: {sleep: 60, concurrency: 1}
  stopped: {sleep: 60, concurrency: 1}
  exits: {sleep: 60, max_tries: 1}
  blocked: {sleep: 60, timeout: 0}
  Forks: {sleep: 60, concurrency: 1}
  Daemonises: {sleep: 60, concurrency: 1}
  leaks: {sleep: 60, concurrency: 1, max_memory: 300MiB}
  limited: {sleep: 60, concurrency: 1, max_tries: 1}
  one-each: {sleep: 60, processes: 2, concurrency: 1, max_jobs: 1}
  odd: {sleep: 60, max_tries: 1}
  hooks: {sleep: 60, max_tries: 1, concurrency: 2}
"""
JOBS = """
class Quick(Job):
    async def handle(self):
        note(self, "done")

class Slow(Job):
    max_tries = 1
    name_of_file: str = "release"
    async def handle(self):
        note(self, "began")
        await until(self.name_of_file)
        note(self, "done")

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

class Closes(Job):
    async def handle(self):
        note(self, "began")
        if self.attempts == 1:
            os.closerange(3, 1024)
            time.sleep(3600)
        note(self, "done")

class Exits(Job):
    async def handle(self):
        note(self, "began")
        sys.exit(3)

class Interrupts(Job):
    def handle(self):
        note(self, "began")
        raise KeyboardInterrupt

class Blocks(Job):
    async def handle(self):
        note(self, "began")
        while not Path("unblock").exists():
            time.sleep(0.05)
        note(self, "done")

class Forks(Job):
    '''Leaves a process that has the worker's descriptors; the worker is killed beside it.'''
    async def handle(self):
        if self.attempts == 1:
            pid = os.fork()
            if pid == 0:
                self.child()
                Path(f"{type(self).__name__}-connections").write_text(str(connections()))
                Path(f"{type(self).__name__}-child").write_text(str(os.getpid()))
                time.sleep(3600)
                os._exit(0)
            note(self, "began")
            await asyncio.sleep(3600)
        note(self, "done")

    def child(self):
        pass

class Daemonises(Forks):
    name = "work.Daemonises"
    def child(self):
        os.setsid()

def connections():
    '''Count the sockets that lead to a back-end.'''
    found = 0
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            with socket.socket(fileno=os.dup(fd)) as one:
                found += one.family == socket.AF_INET
        except OSError:
            pass
    return found

HOARD = []

class Leaks(Job):
    async def handle(self):
        note(self, "began")
        HOARD.append(bytearray(os.urandom(1)) * (64 << 20))
        await asyncio.sleep(0.2)
        note(self, "done")

class OverLimit(Job):
    '''Asks for more than RLIMIT_AS lets it have.'''
    async def handle(self):
        note(self, "began")
        before = resource.getrlimit(resource.RLIMIT_AS)
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + (64 << 20), before[1]))
        try:
            bytearray(1 << 30)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)

class Unpicklable(Exception):
    def __init__(self):
        super().__init__(threading.Lock(), open(os.devnull), lambda: None)

class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no text")
    __repr__ = __str__

class MuteArgument:
    def __repr__(self):
        raise RuntimeError("no repr")

class Odd(Job):
    kind: str
    async def handle(self):
        if self.kind == "unpicklable":
            raise Unpicklable  # the line of unpicklable
        if self.kind == "mute":
            raise Mute("x")  # the line of mute
        raise ValueError(MuteArgument())  # the line of argument

class Hooked(Job):
    async def handle(self):
        raise ValueError("wrong")

class HookRaises(Hooked):
    name = "work.HookRaises"
    async def failed(self, exception):
        note(self, "hook")
        raise SystemExit("the hook's own")

class HookHangs(Hooked):
    name = "work.HookHangs"
    async def failed(self, exception):
        note(self, "hook")
        await asyncio.sleep(3600)
"""
BACKENDS = pytest.mark.parametrize("crew", ["sqlite", "valkey"], indirect=True)
SQLITE = pytest.mark.parametrize("crew", ["sqlite"], indirect=True)
AT_ONCE = 10.0
"""Seconds, for what takes a fraction of one: far less than ``sleep`` (60) and the lease (30)."""


@pytest.mark.fault(1)
@BACKENDS
def test_the_jobs_of_a_killed_worker_run_again_at_once(crew: Crew) -> None:
    ids = crew.push("Slow", "killed", times=3)
    pid = crew.until_lines("Slow-began", 3)[0].pid
    began = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    crew.until_lines("Slow-began", 6)
    seconds = time.monotonic() - began
    print(f"all three ran again within {seconds:.3f} s")
    assert seconds < AT_ONCE
    for job_id in ids:
        info = crew.find(job_id)
        assert info is not None
        assert info.counts == Counts(lost=1, suspicion=1)  # and no try
    assert crew.exits("killed") == {"signal": 1}
    crew.touch("release")
    crew.until_lines("Slow-done", 3)
    assert crew.failed("killed") == []


@pytest.mark.fault(1, 6, 7, 14)
@BACKENDS
@pytest.mark.parametrize("job", ["ExitsZero", "Segfault", "Closes"])
def test_a_job_that_ends_its_worker_is_charged_a_crash_and_no_try(crew: Crew, job: str) -> None:
    until(lambda: crew.pids(job), "its worker")
    [worker] = crew.pids(job)
    [job_id] = crew.push(job, job)
    # Its second run may be over before it is looked at: what was charged stands in the metrics.
    until(lambda: crew.find(job_id) is None, "it to be done")
    assert [line.attempt for line in crew.lines(f"{job}-began")] == [1, 2]
    assert crew.lines(f"{job}-done")
    assert crew.failed(job) == []
    until(lambda: crew.metric("jobs_reclaimed_total", queue=job, reason="crashed") == 1, "a crash")
    attempts = {
        outcome: crew.metric("attempts_total", queue=job, outcome=outcome)
        for outcome in ("lost", "succeeded", "retried", "timed_out", "failed")
    }
    assert attempts["lost"] == 1
    assert attempts["retried"] == attempts["timed_out"] == attempts["failed"] == 0
    [crash] = crew.events("worker.crashed", worker=f"{job}/1")
    assert crash["pid"] == worker
    reason = {"ExitsZero": "crash", "Segfault": "signal", "Closes": "hung"}[job]
    assert crash["reason"] == reason
    assert crew.exits(job)[reason] == 1
    if job == "Segfault":
        assert crash["how"] == "SIGSEGV"
        assert "Fatal Python error: Segmentation fault" in crash["stack"]
        assert "ctypes" in crash["stack"]
    if job == "Closes":  # it lived on, without a channel
        assert crash["how"] in {"SIGABRT", "SIGKILL"}


@pytest.mark.fault(5)
@BACKENDS
def test_a_worker_that_wakes_after_its_lease_settles_nothing(crew: Crew) -> None:
    """Its host stands still, a janitor of another one takes the job, and a worker there runs it.

    The lease is made short by the test, as if 30 s had passed.
    """
    [job_id] = crew.push("Slow", "stopped", name_of_file="wake")
    [pid] = until(
        lambda: [line.pid for line in crew.lines("Slow-began") if line.id == job_id], "the run"
    )
    host = [pid, crew.status()["monitor"]["pid"]]
    stale = crew.metric("stale_acks_total", queue="stopped")
    stopped_between_transactions(
        host, lambda: crew.ask(lambda driver: driver.ping()), DriverUnavailable
    )
    try:
        crew.ask(lambda driver: elsewhere(driver, job_id))
        crew.touch("wake")
    finally:
        signal_all(host, signal.SIGCONT)
    until(lambda: crew.exits("stopped") == {"owner_lost": 1}, "the worker to find out")
    until(
        lambda: crew.metric("stale_acks_total", queue="stopped") == stale + 1,
        "the stale settlement to be counted",
    )
    info = crew.find(job_id)
    assert info is not None  # neither gone nor changed: the other host's worker still has it
    assert (info.state, info.owner) == (State.RESERVED, "other-host")
    assert info.counts == Counts(lost=1, suspicion=1)
    [quick] = crew.push("Quick", "stopped")
    until(lambda: crew.find(quick) is None, "its successor to work")


async def elsewhere(driver: Driver, job_id: str) -> None:
    """Be another host: reap what has no lease any more, and run it."""
    found = await driver.find(job_id)
    assert found is not None
    assert found.owner is not None
    await driver.renew(found.queue, [found.owner], 0.01)
    await asyncio.sleep(0.02)
    janitor = Janitor(driver, Metrics(), reap_after=0.0, second_look=0.01)
    await janitor.promote([found.queue])  # so that it knows that the back-end answers
    assert await janitor.reap([found.queue], ours="other-host") == 1
    answer = await driver.exchange(found.queue, "other-host", want=1, nonce=1)
    assert [job.id for job in answer.jobs] == [job_id]


@pytest.mark.fault(8)
@SQLITE
def test_a_job_that_exits_or_interrupts_fails_its_attempt_and_its_worker_lives(crew: Crew) -> None:
    crew.push_together("exits", ["Exits", "Interrupts"])
    until(lambda: len(crew.failed("exits")) == 2, "both to fail")
    errors = {json.loads(one.record)["error"] for one in crew.failed("exits")}
    assert errors == {"SystemExit: 3", "KeyboardInterrupt"}
    assert {one.counts for one in crew.failed("exits")} == {Counts(errors=1)}
    [quick] = crew.push("Quick", "exits")
    until(lambda: crew.find(quick) is None, "the worker to go on")
    assert crew.exits("exits") == {}
    pids = {line.pid for name in ("Exits", "Interrupts") for line in crew.lines(f"{name}-began")}
    assert pids == crew.pids("exits")


@pytest.mark.fault(9)
@SQLITE
def test_the_monitor_keeps_the_lease_of_a_worker_whose_loop_is_blocked(crew: Crew) -> None:
    [job_id] = crew.push("Blocks", "blocked")
    [line] = crew.until_lines("Blocks-began")
    began = time.monotonic()

    def over_a_second() -> float:
        buckets = {"pool": "blocked"}
        return crew.metric("event_loop_lag_seconds_count", **buckets) - crew.metric(
            "event_loop_lag_seconds_bucket", **buckets, le="1.0"
        )

    before = over_a_second()
    info = crew.find(job_id)
    assert info is not None
    owner = info.owner
    assert owner is not None

    async def shorten(driver: Driver) -> None:
        await driver.renew("blocked", [owner], 25.0)

    async def lease(driver: Driver) -> float:
        return (await driver.owners("blocked"))[owner]

    crew.ask(shorten)
    until(lambda: crew.ask(lease) > 25.0, "the monitor to renew it, once in 10 s", every=0.2)
    assert crew.lines("Blocks-done") == []  # its worker cannot have been it
    until(lambda: time.monotonic() > began + 2.0, "the loop to have stood still for a while")
    crew.touch("unblock")
    until(lambda: crew.find(job_id) is None, "the job to be done")
    assert crew.lines("Blocks-began") == [line]
    assert crew.exits("blocked") == {}
    until(lambda: over_a_second() > before, "the lag to be seen")


@pytest.mark.fault(13)
@BACKENDS
@pytest.mark.parametrize("job", ["Forks", "Daemonises"])
def test_a_process_that_a_job_left_holds_up_nothing(crew: Crew, job: str) -> None:
    """It has inherited the worker's descriptors, so no end of file tells of the worker's death."""
    crew.push(job, job)
    [line] = crew.until_lines(f"{job}-began")
    path = crew.folder / f"{job}-child"
    child = int(until(lambda: path.exists() and path.read_text(), "the child"))
    assert (crew.folder / f"{job}-connections").read_text() == "0"
    began = time.monotonic()
    os.kill(line.pid, signal.SIGKILL)
    crew.until_lines(f"{job}-done")
    assert time.monotonic() - began < AT_ONCE
    assert crew.exits(job)["signal"] == 1
    if job == "Forks":  # of the worker's group, which is killed with it
        until(lambda: not is_alive(child), "its end")
        until(lambda: not Path(f"/proc/{child}").exists(), "it to be reaped")
        return
    assert is_alive(child)  # a session of its own: it ends with the daemon, at the latest
    os.kill(child, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{child}").exists(), "the master to reap what is none of its own")


@pytest.mark.fault(12)
@SQLITE
def test_a_worker_that_leaks_is_replaced_between_jobs(crew: Crew) -> None:
    crew.push("Leaks", "leaks", times=12)
    crew.until_lines("Leaks-done", 12)
    until(lambda: crew.exits("leaks"), "a replacement")  # memory is looked at once a second
    assert set(crew.exits("leaks")) == {"max_memory"}
    done = crew.lines("Leaks-done")
    assert {line.attempt for line in done} == {1}  # none was interrupted
    assert len(done) == len(crew.lines("Leaks-began")) == 12
    assert crew.failed("leaks") == []


@pytest.mark.fault(12)
@SQLITE
def test_a_job_beyond_the_limit_of_its_process_fails_its_attempt(crew: Crew) -> None:
    crew.push("OverLimit", "limited")
    failed, record = crew.failure("limited")
    assert record["error"].startswith("MemoryError")
    assert failed.counts == Counts(errors=1)
    assert crew.exits("limited") == {}


@pytest.mark.fault(16)
@SQLITE
def test_workers_of_one_job_each_leave_no_zombie(crew: Crew) -> None:
    """The real one; of a stand-in: test_a_thousand_recycled_workers_leave_no_zombie."""
    crew.push("Quick", "one-each", times=20)
    until(lambda: crew.exits("one-each").get("max_jobs", 0) >= 20, "twenty workers")
    assert set(crew.exits("one-each")) == {"max_jobs"}
    pids = [line.pid for line in crew.lines("Quick-done")]
    assert len(set(pids[-20:])) == 20
    until(lambda: crew.zombies() == [], "all to be reaped", seconds=AT_ONCE)


@pytest.mark.fault(41)
@SQLITE
def test_exceptions_that_cannot_be_stored_or_shown_are_kept_as_text(crew: Crew) -> None:
    for kind in ("unpicklable", "mute", "argument"):
        crew.push("Odd", "odd", kind=kind)
    until(lambda: len(crew.failed("odd")) == 3, "all to fail")
    found = {json.loads(one.payload.partition(b"\n")[2])["kind"]: one for one in crew.failed("odd")}
    for kind, failed in found.items():
        assert failed.counts == Counts(errors=1)
        record = json.loads(failed.record)
        assert record["reason"] == "max_tries"
        assert f"# the line of {kind}" in record["traceback"]
    assert "lock" in json.loads(found["unpicklable"].record)["error"]
    assert json.loads(found["mute"].record)["error"] == "Mute: (its message cannot be printed)"
    assert crew.exits("odd") == {}
    assert crew.run("failed", "show", found["mute"].id).stdout


@pytest.mark.fault(42)
@SQLITE
def test_a_hook_that_raises_or_hangs_takes_neither_the_record_nor_the_worker(crew: Crew) -> None:
    """That one which hangs is given up: test_a_hook_that_hangs_has_its_time_and_is_done."""
    raises, hangs = crew.push_together("hooks", ["HookRaises", "HookHangs"])
    crew.until_lines("HookRaises-hook")
    crew.until_lines("HookHangs-hook")
    records = {one.id: one for one in crew.failed("hooks")}  # stored although it still hangs
    assert json.loads(records[hangs].record)["error"] == "ValueError: wrong"
    assert records[hangs].hook_pending
    until(
        lambda: not {one.id: one for one in crew.failed("hooks")}[raises].hook_pending,
        "the hook that raises to count as run",
    )
    assert json.loads(records[raises].record)["error"] == "ValueError: wrong"
    [said] = crew.events("hook.failed", job_id=raises)
    assert said["error"] == "SystemExit: the hook's own"
    [quick] = crew.push("Quick", "hooks")
    until(lambda: crew.find(quick) is None, "the worker to go on")
    assert crew.exits("hooks") == {}
