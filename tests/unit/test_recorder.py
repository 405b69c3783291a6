"""The flight recorder: what a worker wrote is read when it is dead."""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import signal
import threading
import time
from collections.abc import Callable

import pytest

from queued.daemon import logs
from queued.daemon.recorder import LINES, MAX_STACK
from queued.daemon.scoreboard import Scoreboard
from queued.daemon.spec import LogSpec


@pytest.fixture
def board():
    board = Scoreboard.create(3)
    yield board
    board.close()


def lose(board: Scoreboard, life: Callable[[Scoreboard], object]) -> int:
    """Let ``life`` be the end of a process with this board; return its wait status."""
    pid = os.fork()
    if pid == 0:
        try:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            theirs = Scoreboard.attach(board.fd)
            theirs.recorder.arm()
            life(theirs)
        finally:
            os._exit(0)
    return os.waitpid(pid, 0)[1]


def test_a_worker_that_wrote_nothing(board):
    assert lose(board, lambda _: None) == 0
    assert board.recorder.last_lines() == []
    assert board.recorder.stack() == ""


def test_no_memory_is_used_before_something_is_written(board):
    os.pwrite(board.fd, b"x", 0)
    assert os.fstat(board.fd).st_blocks * 512 <= resource.getpagesize()


def test_the_last_lines_survive_a_kill(board):
    def write(theirs: Scoreboard) -> None:
        for number in range(LINES + 5):
            theirs.recorder.line(b"line %d\n" % number)
        os.kill(os.getpid(), signal.SIGKILL)

    assert lose(board, write) == signal.SIGKILL
    assert board.recorder.last_lines() == [f"line {number}" for number in range(5, LINES + 5)]


def test_long_lines_are_cut_and_colours_left_out(board):
    def write(theirs: Scoreboard) -> None:
        theirs.recorder.line(b"\x1b[1mbright\x1b[0m \xff\n")
        theirs.recorder.line(b"x" * 5_000)

    lose(board, write)
    short, long = board.recorder.last_lines()
    assert short == "bright �"
    assert long == "x" * 1016 + "…"


def test_lines_of_many_threads_are_all_kept(board):
    def write(theirs: Scoreboard) -> None:
        together = threading.Barrier(LINES)

        def say(number: int) -> None:
            together.wait(10)
            theirs.recorder.line(b"line %d" % number)

        threads = [threading.Thread(target=say, args=(number,)) for number in range(LINES)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    lose(board, write)
    assert sorted(board.recorder.last_lines()) == sorted(f"line {n}" for n in range(LINES))


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE])
def test_a_fatal_signal_leaves_every_threads_stack(board, number):
    def die(theirs: Scoreboard) -> None:
        theirs.recorder.places("Job a (most recent call first):\n  File x")
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        os.kill(os.getpid(), number)
        time.sleep(60)

    assert os.WTERMSIG(lose(board, die)) == number
    place, cause, thread, other, *_ = board.recorder.stack().split("\n\n")
    assert place == "Job a (most recent call first):\n  File x"
    assert cause.startswith("Fatal Python error: ")
    assert thread.startswith("Current thread")
    assert thread.splitlines()[1].endswith(" in die")
    assert other.startswith("Thread")


def test_places_are_taken_back(board):
    def recover(theirs: Scoreboard) -> None:
        theirs.recorder.places("Job a (most recent call first):\n  File x")
        theirs.recorder.places("")

    lose(board, recover)
    assert board.recorder.stack() == ""


def test_stacks_are_bounded(board):
    def die(theirs: Scoreboard) -> None:
        ready = threading.Barrier(61)

        def deeper(depth: int) -> None:
            if depth:
                deeper(depth - 1)
            else:
                ready.wait()
                time.sleep(60)

        for _ in range(60):
            threading.Thread(target=deeper, args=(80,), daemon=True).start()
        ready.wait()
        ctypes.string_at(0)

    assert os.WTERMSIG(lose(board, die)) == signal.SIGSEGV
    stack = board.recorder.stack()
    assert len(stack) <= MAX_STACK
    assert stack.endswith("\n…")


def test_what_a_job_forks_records_elsewhere(board):
    def fork(theirs: Scoreboard) -> None:
        pid = os.fork()
        if pid == 0:
            theirs.recorder.line(b"not the worker's\n")
            ctypes.string_at(0)
        os.waitpid(pid, 0)
        theirs.recorder.line(b"the worker's\n")

    lose(board, fork)
    assert board.recorder.last_lines() == ["the worker's"]
    assert board.recorder.stack() == ""


def test_no_file_that_is_opened_after_all_were_closed_gets_the_dump(board, tmp_path):
    def close(_: Scoreboard) -> None:
        os.closerange(3, 1024)
        for name in range(20):
            os.open(tmp_path / str(name), os.O_WRONLY | os.O_CREAT)
        ctypes.string_at(0)

    assert os.WTERMSIG(lose(board, close)) == signal.SIGSEGV
    assert {path.stat().st_size for path in tmp_path.iterdir()} == {0}


def test_log_lines_are_recorded_as_they_are_written_without_secrets(board, tmp_path):
    def log(theirs: Scoreboard) -> None:
        fd = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
        spec = LogSpec(level="info", format="json")
        logs.configure(spec, {"worker": "emails/1"}, fd=fd, copy=theirs.recorder.line)
        logging.getLogger("app").warning("redis://user:hunter2@host, token=hunter2")

    lose(board, log)
    (line,) = board.recorder.last_lines()
    assert line == (tmp_path / "log").read_text().rstrip("\n")
    assert "redis://user:***@host, token=***" in line
