"""The scoreboard: what the worker writes is what the master reads, dead or alive."""

from __future__ import annotations

import itertools
import os
import signal
import struct

import pytest

from queued.daemon.scoreboard import Scoreboard, SlotState


@pytest.fixture
def board():
    board = Scoreboard.create(3)
    yield board
    board.close()


def begin(board: Scoreboard, slot: int, job_id: str, job: str = "app.Send") -> None:
    board.begin(slot, job_id, job, 7, 10.0, 70.0, 3, 2.5)


def test_a_new_board_is_idle(board):
    assert board.read() == []
    assert (board.busy, board.began, board.settled, board.heartbeat) == (0, 0, 0, 0.0)


def test_a_begun_job_reads_back_whole(board):
    begin(board, 1, "job-1")
    (slot,) = board.read()
    assert (slot.number, slot.state, slot.job_id, slot.job) == (
        1,
        SlotState.RUNNING,
        "job-1",
        "app.Send",
    )
    assert (slot.started, slot.deadline, slot.max_tries, slot.retry_in) == (10.0, 70.0, 3, 2.5)
    assert board.busy == 1


@pytest.mark.parametrize(
    ("ok", "state"), [(True, SlotState.FINISHED_OK), (False, SlotState.FINISHED_ERROR)]
)
def test_a_finished_job_stays_until_it_is_settled(board, ok, state):
    begin(board, 0, "job-1")
    board.finish(0, ok)
    assert [slot.state for slot in board.read()] == [state]
    assert board.settled == 0
    board.clear(0)
    assert board.read() == []
    assert board.settled == 1


def test_a_released_job_is_no_progress(board):
    begin(board, 0, "job-1")
    board.release(0)
    assert (board.read(), board.began, board.settled) == ([], 1, 0)


def test_the_next_job_of_a_slot_has_another_generation(board):
    begin(board, 0, "job-1")
    first = board.read()[0].generation
    assert board.read()[0].generation == first
    board.clear(0)
    begin(board, 0, "job-2")
    assert board.read()[0].generation != first


def test_a_half_written_slot_reads_as_idle(board):
    """As when it is killed within ``begin``: that job had not started."""
    with pytest.raises(struct.error):
        board.begin(0, "job-1", "app.Send", 7, 10.0, 70.0, 3, retry_in="no number")
    assert board.read() == []
    assert board.began == 0


def test_no_reader_takes_halves_of_two_jobs_for_one(board):
    pid = os.fork()
    if pid == 0:
        for number in itertools.count(1):
            board.begin(0, f"job-{number}", "Send", number, number, number, number, number)
            sum(range(500))  # longer than a reading, most of the time
            board.clear(0)
    try:
        seen: set[int] = set()
        while len(seen) < 100:
            for slot in board.read():
                values = (slot.fence, slot.started, slot.deadline, slot.max_tries, slot.retry_in)
                assert set(values) == {slot.fence}
                assert slot.job_id == f"job-{slot.fence}"
                seen.add(slot.fence)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_start_clock_moves_start_and_deadline(board):
    begin(board, 0, "job-1")
    board.start_clock(0, 20.0, 80.0)
    (slot,) = board.read()
    assert (slot.started, slot.deadline) == (20.0, 80.0)


def test_long_names_are_cut_and_a_cut_character_does_no_harm(board):
    begin(board, 0, "i" * 64, "x" * 63 + "é")
    (slot,) = board.read()
    assert slot.job_id == "i" * 64
    assert slot.job == "x" * 63


def test_the_heartbeat_is_shared(board):
    other = Scoreboard.attach(os.dup(board.fd))
    other.beat(123.5)
    assert board.heartbeat == 123.5
    other.close()


def test_it_survives_the_writer(board):
    pid = os.fork()
    if pid == 0:
        begin(board, 2, "job-9")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert [(slot.number, slot.job_id) for slot in board.read()] == [(2, "job-9")]


def test_it_cannot_be_truncated_under_the_master(board):
    with pytest.raises(PermissionError):
        os.ftruncate(board.fd, 0)


def test_another_descriptor_is_refused(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"y" * 100)
    with path.open("rb+") as file, pytest.raises(ValueError, match="not a scoreboard"):
        Scoreboard.attach(file.fileno())


def test_a_state_that_does_not_exist_reads_as_running(board):
    """A job that writes to a wrong descriptor must not end the master."""
    begin(board, 0, "job")
    board.finish(0, ok=True)
    os.pwrite(board.fd, b"\xff", 64)
    (slot,) = board.read()
    assert slot.state is SlotState.RUNNING
