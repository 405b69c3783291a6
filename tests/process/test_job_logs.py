"""What jobs log carries the job, whoever writes it, and every failure is one line."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from queued.daemon.logs.repeats import WRITTEN
from queued.jobs.job import Job
from queued.jobs.queue import Queue
from tests.process.harness import Daemon, until

CONFIG = """
imports: [work]
http: {listen: "127.0.0.1:0"}
log: {format: json, jobs: %s}
queues: {default: {sleep: 50ms, concurrency: 8}, alone: {sleep: 50ms, concurrency: 1}}
"""

JOBS = """
import asyncio, contextvars, gc, logging, os, signal, threading
import structlog
from queued import Job

standard = logging.getLogger("app")
own = structlog.get_logger()

def say(job, text):
    mine = {"its_id": job.job_id, "its_attempt": job.attempts, "its_class": type(job).__name__}
    standard.info(text + ", standard", extra=mine)
    own.info(text + ", structlog", **mine)

class Speaks(Job):
    number: int
    async def handle(self):
        say(self, "loop")
        for _ in range(3):
            await asyncio.sleep(0)
            say(self, "later")
        await asyncio.create_task(self.part())
        await asyncio.to_thread(say, self, "to_thread")
    async def part(self):
        await asyncio.sleep(0)
        say(self, "task")

class Plain(Job):
    number: int
    def handle(self):
        say(self, "plain")
        with_context = contextvars.copy_context().run
        for args in ((say, self, "handed over"), (standard.info, "bare thread")):
            target, *args = (with_context, *args) if args[0] is say else args
            thread = threading.Thread(target=target, args=args)
            thread.start()
            thread.join()

class Fails(Job):
    number: int
    max_tries = 2
    retry_after = 0
    async def handle(self):
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("boom, password=hunter2") from error
    async def failed(self, exception):
        say(self, "hook")

class Floods(Job):
    number: int
    max_tries = 1
    async def handle(self):
        raise LookupError(f"no user {self.number}")

class Forgets(Job):
    number: int
    async def handle(self):
        async def crash():
            raise RuntimeError(f"forgotten {self.job_id}")
        task = asyncio.create_task(crash())
        await asyncio.sleep(0)
        del task
        gc.collect()
        say(self, "forgot")

class Dies(Job):
    number: int
    queue = "alone"
    async def handle(self):
        os.kill(os.getpid(), signal.SIGKILL)
"""


class Work:
    """A daemon of these jobs, and a producer for it."""

    def __init__(self, daemon: Callable[..., Daemon], jobs: str = "failures") -> None:
        self.daemon = daemon(CONFIG % jobs, jobs=JOBS).start()
        self.producer = Queue()
        self.producer.connect(f"sqlite:///{self.daemon.folder}/queued.db")

    def put(self, kind: str, times: int = 1) -> list[str]:
        queue = "alone" if kind == "Dies" else "default"
        jobs = [producers_own(kind)(number=number) for number in range(times)]
        return [receipt.id for receipt in self.producer.sync.bulk(jobs, queue=queue)]

    def lines(self) -> list[dict[str, Any]]:
        *whole, _ = self.daemon.output().split("\n")
        return [json.loads(line) for line in whole if line.startswith("{")]

    def of(self, *events: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line["event"] in events]


@functools.cache
def producers_own(kind: str) -> type[Any]:
    """Return a class as a producer has it: the name and the fields, and none of the code."""

    async def handle(_: Job) -> None: ...

    body = {"__annotations__": {"number": int}, "name": f"work.{kind}", "handle": handle}
    return type(kind, (Job,), body)


@pytest.fixture
def work(daemon: Callable[..., Daemon]) -> Work:
    return Work(daemon)


def test_every_line_of_a_job_carries_the_job(work: Work) -> None:
    ids = {*work.put("Speaks", 20), *work.put("Plain", 20)}
    per_job = {"Speaks": 12, "Plain": 4}
    wanted = 20 * sum(per_job.values())
    lines = until(
        lambda: len(found := [one for one in work.lines() if "its_id" in one]) == wanted and found,
        "all of the lines",
    )
    for line in lines:
        assert line["job_id"] == line["its_id"]
        assert line["attempt"] == line["its_attempt"] == 1
        assert line["job"] == f"work.{line['its_class']}"
        assert (line["queue"], line["worker"]) == ("default", "default/1")
    assert {line["job_id"] for line in lines} == ids
    standard = [line for line in lines if line["event"].endswith("standard")]
    assert len(standard) == wanted / 2
    assert all(line["logger"] == "app" for line in standard)


def test_a_bare_thread_of_a_job_is_its_workers(work: Work) -> None:
    work.put("Plain", 3)
    lines = until(lambda: len(found := work.of("bare thread")) == 3 and found, "the threads")
    for line in lines:
        assert (line["queue"], line["worker"]) == ("default", "default/1")
        assert "job_id" not in line


def test_a_failure_is_one_line_with_its_traceback(work: Work) -> None:
    [job_id] = work.put("Fails")
    until(lambda: work.of("hook, structlog"), "the hook")
    retried, failed, *hook = [line for line in work.lines() if line.get("job_id") == job_id]
    assert (retried["event"], retried["level"]) == ("job.retried", "warning")
    assert (failed["event"], failed["level"]) == ("job.failed", "error")
    assert [line["event"] for line in hook] == ["hook, standard", "hook, structlog"]
    for attempt, line in enumerate((retried, failed), 1):
        assert (line["job"], line["queue"], line["worker"]) == (
            "work.Fails",
            "default",
            "default/1",
        )
        assert line["attempt"] == attempt
        assert line["error"] == "ValueError: boom, password=***"
        assert line["exception"].count("Traceback (most recent call last)") == 2
        assert "KeyError: 'first'" in line["exception"]
        assert "in handle" in line["exception"]
    assert all(line["job"] == "work.Fails" for line in hook)
    assert "hunter2" not in work.daemon.output()


def test_a_flood_of_failures_is_summed_up_and_every_one_is_accounted_for(work: Work) -> None:
    work.put("Floods", 500)
    until(lambda: work.daemon.status()["queues"]["default"]["failed"] == 500, "the end")
    work.daemon.stop()
    written, summed = work.of("job.failed"), work.of("log.repeated")
    held_back = sum(line["times"] for line in summed if line["of"] == "job.failed")
    assert len(written) + held_back == 500
    assert len(written) <= WRITTEN * (1 + len(summed))
    assert held_back > 0
    for line in summed:
        assert (line["job"], line["queue"], line["level"]) == ("work.Floods", "default", "error")
        assert line["error"].startswith("LookupError: no user ")
        assert "job_id" not in line


def test_whoever_wants_all_gets_all(daemon: Callable[..., Daemon]) -> None:
    work = Work(daemon, "all")
    ids = {*work.put("Floods", 60)}
    until(lambda: len(work.of("job.failed")) == 60, "every failure")
    assert {line["job_id"] for line in work.of("job.failed")} == ids
    ids = {*work.put("Speaks", 60)}
    until(lambda: len(work.of("job.succeeded")) == 60, "every success")
    for line in work.of("job.succeeded"):
        assert line["job_id"] in ids
        assert line["seconds"] >= 0
        assert (line["job"], line["attempt"], line["level"]) == ("work.Speaks", 1, "info")


def test_a_task_that_nobody_awaited_names_its_own_job_or_none(work: Work) -> None:
    work.put("Forgets", 12)
    lines = until(lambda: len(found := work.of("task.crashed")) == 12 and found, "the tasks")
    for line in lines:
        assert (line["level"], line["worker"]) == ("error", "default/1")
        its = line["exception"].rpartition("forgotten ")[2].strip()
        assert line.get("job_id") == (its if sys.version_info >= (3, 12) else None)


def test_what_died_with_its_worker_is_told_by_the_monitor(work: Work) -> None:
    [job_id] = work.put("Dies")
    [failed] = until(lambda: work.of("job.failed"), "the last crash")
    lost = work.of("job.lost")
    assert len(lost) == 2
    for attempt, line in enumerate((*lost, failed), 1):
        assert (line["job_id"], line["job"], line["attempt"]) == (job_id, "work.Dies", attempt)
        assert (line["queue"], line["process"]) == ("alone", "monitor")
        assert line["worker"].startswith("alone/")
        assert line["error"].startswith("JobCrashed: its worker was killed by SIGKILL")
    assert {line["level"] for line in lost} == {"warning"}
    assert failed["level"] == "error"
