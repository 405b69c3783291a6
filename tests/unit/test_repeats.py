"""A flood of the same line is written a few times and summed up, and nothing else is held back."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from queued.daemon import logs
from queued.daemon.logs import repeats, setup
from queued.daemon.logs.repeats import MOST_KINDS, OF_DAEMON, OF_JOBS, WINDOW, WRITTEN, Repeats
from queued.daemon.spec import LogSpec


class Log:
    """A process's log, with a clock."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        self.now = 100.0

    def configure(self, **spec: str) -> None:
        logs.configure(LogSpec(format="json", **spec), {"worker": "a/1"}, fd=self.writer)
        setup._repeats._clock = lambda: self.now

    def lines(self) -> list[dict[str, Any]]:
        data = b""
        try:
            while more := os.read(self.reader, 1 << 20):
                data += more
        except BlockingIOError:
            pass
        return [json.loads(line) for line in data.splitlines()]

    def fail(self, times: int = 1, error: str = "ValueError: no", **fields: Any) -> None:
        log = structlog.get_logger()
        for number in range(times):
            named = {"job": "app.Send", "job_id": f"id{number}"} | fields
            log.warning("job.retried", error=error, **named)


@pytest.fixture
def log() -> Iterator[Log]:
    root = logging.getLogger()
    level, hook = root.level, threading.excepthook
    made = Log()
    made.configure()
    yield made
    for handler in root.handlers[:]:
        if isinstance(handler, logs.Forward):
            root.removeHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(False)
    threading.excepthook = hook
    setup._repeats = None
    structlog.reset_defaults()
    os.close(made.reader)
    os.close(made.writer)


def test_the_first_are_written_and_the_rest_is_summed_up(log: Log) -> None:
    log.fail(1_000)
    lines = log.lines()
    assert [line["job_id"] for line in lines] == [f"id{number}" for number in range(WRITTEN)]
    logs.sum_up()
    assert log.lines() == []
    log.now += WINDOW
    logs.sum_up()
    [said] = log.lines()
    assert said.pop("timestamp")
    assert said == {
        "level": "warning",
        "event": "log.repeated",
        "worker": "a/1",
        "of": "job.retried",
        "job": "app.Send",
        "error": "ValueError: no",
        "times": 1_000 - WRITTEN,
        "seconds": WINDOW,
        "message": f"job.retried {1_000 - WRITTEN} more times in 10s: ValueError: no",
    }
    logs.sum_up()
    assert log.lines() == []


def test_each_window_writes_its_first_ones(log: Log) -> None:
    for _ in range(3):
        log.fail(100)
        log.now += WINDOW
    logs.sum_up()
    events = [line["event"] for line in log.lines()]
    assert events == [*["job.retried"] * WRITTEN, "log.repeated"] * 3


def test_a_few_are_never_summed_up(log: Log) -> None:
    log.fail(WRITTEN)
    log.now += WINDOW
    logs.sum_up(at_once=True)
    assert {line["event"] for line in log.lines()} == {"job.retried"}


def test_another_error_or_job_or_event_is_another_kind(log: Log) -> None:
    log.fail(100)
    log.lines()
    log.fail(error="KeyError: 'x'")
    log.fail(job="app.Other")
    structlog.get_logger().error("job.failed", job="app.Send", error="ValueError: no")
    assert len(log.lines()) == 3


def test_numbers_and_ids_are_no_difference(log: Log) -> None:
    for number in range(100):
        log.fail(error=f"LookupError: no user {number} ({number:08x}-ab) at 0x{number:x}")
    assert len(log.lines()) == WRITTEN


def test_kinds_are_bounded(log: Log) -> None:
    for first in "abcdefghij":
        for second in "klmnopqrstuvwxyz":
            log.fail(error=f"Error{first}{second}: x")
    assert len(log.lines()) == MOST_KINDS + WRITTEN
    logs.sum_up(at_once=True)
    [said] = log.lines()
    assert (said["of"], said["times"]) == ("other", 160 - MOST_KINDS - WRITTEN)


def test_the_end_of_a_process_waits_for_no_window(log: Log) -> None:
    log.fail(50)
    log.lines()
    logs.sum_up(at_once=True)
    assert [line["times"] for line in log.lines()] == [50 - WRITTEN]


def test_new_settings_lose_no_count(log: Log) -> None:
    log.fail(50)
    log.lines()
    log.configure()
    assert [line["times"] for line in log.lines()] == [50 - WRITTEN]


def test_a_fork_does_not_sum_up_what_its_parent_held_back(log: Log) -> None:
    log.fail(50)
    log.lines()
    pid = os.fork()
    if pid == 0:
        try:
            log.configure()
            logs.sum_up(at_once=True)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert log.lines() == []
    logs.sum_up(at_once=True)
    assert len(log.lines()) == 1


def test_it_is_no_line_of_the_job_that_happens_to_run(log: Log) -> None:
    log.fail(50)
    log.now += WINDOW
    logs.JOB_ID.set("of-somebody-else")
    log.fail(error="other")
    logs.JOB_ID.set(None)
    [said] = [line for line in log.lines() if line["event"] == "log.repeated"]
    assert "job_id" not in said


def test_an_error_that_repeats_is_summed_up_as_one(log: Log) -> None:
    for _ in range(50):
        structlog.get_logger().error("duty.failed", duty="f", exc_info=ValueError("no"))
    log.lines()
    logs.sum_up(at_once=True)
    [said] = log.lines()
    assert (said["level"], said["of"]) == ("error", "duty.failed")


@pytest.mark.parametrize("event", ["my.event", "worker.crashed", "pool.fatal", "job.succeeded"])
def test_nothing_else_is_held_back(log: Log, event: str) -> None:
    for _ in range(200):
        structlog.get_logger().error(event, job="app.Send", error="the same")
        logging.getLogger("app").error("the same")
    assert len(log.lines()) == 400


def test_whoever_wants_all_lines_of_jobs_gets_them(log: Log) -> None:
    log.configure(jobs="all")
    log.fail(100)
    assert len(log.lines()) == 100
    for _ in range(100):
        structlog.get_logger().error("duty.failed", duty="f", exc_info=ValueError("no"))
    assert len(log.lines()) == WRITTEN


def test_a_line_that_is_held_back_writes_no_traceback(log: Log) -> None:
    class Costly:
        written = 0

        def __str__(self) -> str:
            Costly.written += 1
            return "Traceback"

    for _ in range(100):
        log.fail(exception=Costly())
    assert Costly.written == WRITTEN


def test_a_hostile_error_costs_little(log: Log) -> None:
    log.fail(error="0" * 1_000_000)
    log.fail(error="-" * 1_000_000)
    [(_, _, zeros), (_, _, dashes)] = setup._repeats._seen
    assert len(zeros) <= len(dashes) <= repeats._COMPARED


def test_the_two_kinds_of_events_are_apart() -> None:
    assert not OF_JOBS & OF_DAEMON
    event = {"event": "job.failed"}
    assert Repeats(jobs=False)(None, "error", event) is event
