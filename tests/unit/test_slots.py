"""A hook is shown on the scoreboard, and never in the way of a run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from queued.daemon.scoreboard import Scoreboard, SlotState
from queued.daemon.verdict import HOOK_FENCE
from queued.daemon.worker.slots import Slots


@pytest.fixture
def board() -> Iterator[Scoreboard]:
    board = Scoreboard.create(2)
    yield board
    board.close()


def test_a_hook_is_shown_until_its_end_is_stored(board):
    slots = Slots(2, board)
    with slots.hook("job-1", "app.Send", 31.0) as shown:
        [slot] = board.read()
        assert (slot.job_id, slot.job, slot.fence) == ("job-1", "app.Send.failed", HOOK_FENCE)
        assert slot.deadline == slot.started + 31.0
        shown.ended()
        assert [slot.state for slot in board.read()] == [SlotState.FINISHED_ERROR]
    assert board.read() == []
    assert board.settled == 0
    assert sorted([slots.take(), slots.take()]) == [0, 1]


def test_a_run_takes_the_slot_of_a_hook_when_no_other_is_free(board):
    slots = Slots(2, board)
    first = slots.take()
    with slots.hook("job-1", "app.Send", 31.0) as shown:
        second = slots.take()
        assert {first, second} == {0, 1}
        assert board.read() == []
        board.begin(second, "job-2", "app.Send", 7, 1.0, 0.0, 3, 0.0)
        shown.ended()
        assert [slot.state for slot in board.read()] == [SlotState.RUNNING]
    slots.give_back(second)
    assert slots.take() == second


def test_a_hook_without_a_free_slot_runs_unseen(board):
    slots = Slots(2, board)
    slots.take(), slots.take()
    with slots.hook("job-1", "app.Send", 31.0) as shown:
        shown.ended()
        assert board.read() == []


def test_where_no_master_looks_nothing_is_shown():
    slots = Slots(1, None)
    with slots.hook("job-1", "app.Send", 31.0) as shown:
        assert slots.take() == 0
        shown.ended()
