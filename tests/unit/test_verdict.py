"""Verdicts: who is charged for a dead worker, and who is not."""

from __future__ import annotations

import math

import pytest

from queued.daemon.scoreboard import Slot, SlotState
from queued.daemon.verdict import Cause, Sentence, Verdict, judge

RUNNING, OK, ERROR = SlotState.RUNNING, SlotState.FINISHED_OK, SlotState.FINISHED_ERROR


def slot(job_id: str, state: SlotState = RUNNING) -> Slot:
    return Slot(0, 2, state, job_id, "app.Send", 7, 90.0, 95.0, 3, 2.0)


def verdicts(slots: list[Slot], cause: Cause, overran: set[str] = frozenset()) -> dict[str, str]:
    return {
        job_id: str(sentence.verdict)
        for job_id, sentence in judge(slots, cause, overran, now=100.0).items()
    }


@pytest.mark.parametrize("cause", list(Cause))
def test_what_had_finished_well_is_acknowledged(cause):
    assert verdicts([slot("a", OK)], cause, {"a"}) == {"a": "finished"}


@pytest.mark.parametrize("cause", [Cause.RELEASED, Cause.KILLED_FOR_DEADLINE])
def test_what_had_failed_unsettled_is_run_again(cause):
    assert verdicts([slot("a", ERROR)], cause, {"a"}) == {"a": "bystander"}


def test_what_had_failed_unsettled_may_be_what_its_worker_died_of():
    """It may have left a callback or a thread that took it along."""
    assert verdicts([slot("a", ERROR)], Cause.CRASH) == {"a": "crashed"}
    assert verdicts([slot("a", ERROR), slot("b", OK)], Cause.CRASH)["a"] == "crashed"
    both = verdicts([slot("a", ERROR), slot("b")], Cause.CRASH)
    assert both == {"a": "suspect", "b": "suspect"}


def test_a_crash_convicts_only_who_ran_alone():
    assert verdicts([slot("a")], Cause.CRASH) == {"a": "crashed"}
    assert verdicts([slot("a"), slot("b")], Cause.CRASH) == {"a": "suspect", "b": "suspect"}
    assert verdicts([slot("a"), slot("b", OK)], Cause.CRASH) == {"a": "crashed", "b": "finished"}


def test_a_kill_for_a_deadline_spares_the_neighbours():
    judged = verdicts([slot("a"), slot("b")], Cause.KILLED_FOR_DEADLINE, {"a"})
    assert judged == {"a": "timed_out", "b": "bystander"}


def test_a_planned_exit_charges_nobody():
    assert verdicts([slot("a")], Cause.RELEASED) == {"a": "bystander"}


def test_an_idle_worker_leaves_nothing():
    assert judge([], Cause.CRASH, now=100.0) == {}


@pytest.mark.parametrize("wild", [math.nan, math.inf, -math.inf, -1.0, 1e300])
def test_what_was_scribbled_over_is_no_duration(wild):
    """An infinite delay is refused by back-ends, and no job of that worker would be settled."""
    scribbled = slot("a")._replace(retry_in=wild, started=-wild)
    sentence = judge([scribbled], Cause.KILLED_FOR_DEADLINE, {"a"}, now=100.0)["a"]
    assert sentence.retry_in == 0
    assert 0 <= sentence.ran <= 200
    assert 0 <= sentence.limit <= 200


def test_a_sentence_crosses_the_channel():
    sentence = judge([slot("a")], Cause.CRASH, now=100.0)["a"]
    assert sentence == Sentence(Verdict.CRASHED, "app.Send", 7, 3, 2.0, 10.0, 5.0)
    frame = sentence.to_frame()
    assert frame == {
        "verdict": "crashed",
        "job": "app.Send",
        "fence": 7,
        "max_tries": 3,
        "retry_in": 2.0,
        "ran": 10.0,
        "limit": 5.0,
    }
    assert Sentence.from_frame(frame) == sentence
