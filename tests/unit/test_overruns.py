"""The master's own deadline: two readings, the neighbours' grace, then the end."""

from __future__ import annotations

import pytest

from queued.daemon.master.child import ChildState, Force, drain
from queued.daemon.master.overruns import CANCEL_GRACE, SILENCE, check
from tests.unit.children import blueprint, make_child

NOBODY = 2**22 + 1
"""No process has this pid: signals go nowhere."""
START = 100.0
DEADLINE = 110.0
LATE = DEADLINE + CANCEL_GRACE + 0.1


@pytest.fixture
def child():
    child = make_child(
        state=ChildState.RUNNING, pid=NOBODY, made_from=blueprint(kill_grace=5.0), now=START
    )
    child.board.beat(START)
    yield child
    child.close()


def run(child, slot: int = 0, job_id: str = "job-1", deadline: float = DEADLINE) -> None:
    child.board.begin(slot, job_id, "Send", 1, START, deadline, 3, 0.0)


def test_a_job_within_its_deadline_and_the_grace_is_left_alone(child):
    run(child)
    check(child, DEADLINE + CANCEL_GRACE - 0.1)
    assert child.late == {}


def test_a_job_without_a_deadline_is_left_alone(child):
    run(child, deadline=0.0)
    for n in range(10):
        check(child, 1e6 + n)
    assert child.state is ChildState.RUNNING


def test_an_overrun_gives_the_neighbours_their_grace_and_kills(child):
    run(child)
    run(child, slot=1, job_id="job-2", deadline=0.0)
    check(child, LATE)
    assert list(child.late.values()) == [None]  # seen once
    check(child, LATE + 0.25)
    assert list(child.late.values()) == [LATE + 0.25]
    check(child, LATE + 5.0)
    assert child.state is ChildState.RUNNING
    check(child, LATE + 5.25)
    assert child.state is ChildState.STOPPING
    assert child.stop.force is Force.ABORT
    assert child.stop.overran == {"job-1"}


def test_another_job_in_the_same_slot_is_another_matter(child):
    run(child)
    check(child, LATE)
    child.board.clear(0)
    run(child, job_id="job-2")
    check(child, LATE + 0.25)
    assert list(child.late.values()) == [None]


def watch(child, since: float, until: float, *, beats: bool = True) -> None:
    """Look at it as its master does, until it is killed."""
    while since < until and child.state is ChildState.RUNNING:
        if beats:
            child.board.beat(since)
        check(child, since)
        since += 0.25


def test_one_that_overruns_later_has_a_grace_of_its_own(child):
    run(child)
    run(child, slot=1, job_id="job-2", deadline=DEADLINE + 4.0)
    watch(child, START, LATE + 20.0)
    assert child.stop.overran == {"job-1"}


def test_the_grace_of_one_is_not_that_of_another_which_has_recovered(child):
    run(child)
    watch(child, START, LATE + 4.0)
    run(child, slot=1, job_id="job-2", deadline=DEADLINE + 2.0)
    child.board.clear(0)
    watch(child, LATE + 4.0, LATE + 6.5)
    assert child.state is ChildState.RUNNING
    watch(child, LATE + 6.5, LATE + 20.0)
    assert child.stop.overran == {"job-2"}


def test_a_job_that_is_late_alone_is_charged_although_the_loop_stands_still(child):
    run(child)
    run(child, slot=1, job_id="job-2", deadline=0.0)
    watch(child, START, LATE + 20.0, beats=False)
    assert child.stop.overran == {"job-1"}


def test_of_several_late_ones_none_is_charged_when_the_loop_could_not_end_them(child):
    """One of them holds it: the others were never told to end."""
    run(child)
    run(child, slot=1, job_id="job-2", deadline=DEADLINE + 3.0)
    watch(child, START, LATE + 20.0, beats=False)
    assert child.stop.force is Force.ABORT
    assert child.stop.overran == frozenset()


def test_one_that_was_told_to_end_is_charged_although_the_loop_stands_still_since(child):
    run(child)
    run(child, slot=1, job_id="job-2", deadline=DEADLINE + 3.0)
    watch(child, START, LATE + 1.0)
    watch(child, LATE + 1.0, LATE + 20.0, beats=False)
    assert child.stop.overran == {"job-1"}


@pytest.mark.parametrize("end", ["finish", "clear"])
def test_a_job_that_ends_after_all_calls_it_off(child, end):
    run(child)
    check(child, LATE)
    check(child, LATE + 0.25)
    child.board.finish(0, True) if end == "finish" else child.board.clear(0)
    check(child, LATE + 0.5)
    assert child.late == {}
    check(child, LATE + 10.0)
    assert child.state is ChildState.RUNNING


def test_a_draining_worker_is_killed_for_an_overrun_too(child):
    run(child)
    child.end(drain(1000.0), START)
    for seconds in (0.0, 0.25, 5.5):
        check(child, LATE + seconds)
    assert child.stop.force is Force.ABORT


def test_an_idle_worker_without_a_heartbeat_hangs(child):
    check(child, START + SILENCE)
    assert child.state is ChildState.RUNNING
    check(child, START + SILENCE + 0.1)
    assert child.stop.force is Force.ABORT
    assert not child.stop.overran


def test_a_busy_worker_without_a_heartbeat_is_left_alone(child):
    run(child, deadline=0.0)
    check(child, START + 10 * SILENCE)
    assert child.state is ChildState.RUNNING


def test_one_whose_jobs_have_ended_hangs_without_a_heartbeat(child):
    """It cannot settle them: what a job left behind blocks its loop, say."""
    run(child)
    run(child, slot=1, job_id="job-2")
    child.board.finish(0, True)
    child.board.finish(1, False)
    check(child, START + SILENCE)
    assert child.state is ChildState.RUNNING
    check(child, START + SILENCE + 0.1)
    assert child.stop.force is Force.ABORT


def test_what_starts_has_its_own_deadline():
    child = make_child(pid=NOBODY)
    check(child, START + 10 * SILENCE)
    assert child.state is ChildState.STARTING
