"""A child's states: each transition, and what happens at each deadline."""

from __future__ import annotations

import itertools
import signal
import subprocess
from subprocess import PIPE

import pytest

from queued.daemon.master.child import (
    DUMP_TIME,
    EOF_GRACE,
    KILL_MARGIN,
    START_TIMEOUT,
    TRANSITIONS,
    ChildState,
    Force,
    abort,
    drain,
    hand_back,
    kill,
    leaving,
)
from tests.unit.children import make_child, process

S = ChildState
ALLOWED = sorted((before, after) for before, afters in TRANSITIONS.items() for after in afters)


@pytest.mark.parametrize(("before", "after"), ALLOWED)
def test_every_transition_of_the_table(before, after):
    child = make_child()
    child.state = before
    child.change(after, 123.0, deadline=130.0)
    assert (child.state, child.since, child.deadline) == (after, 123.0, 130.0)


@pytest.mark.parametrize(
    ("before", "after"),
    [pair for pair in itertools.product(S, S) if pair not in ALLOWED],
)
def test_no_other_transition(before, after):
    child = make_child()
    child.state = before
    with pytest.raises(RuntimeError, match="no transition"):
        child.change(after, 123.0)
    assert child.state is before


def exit_signal(running: subprocess.Popen[bytes]) -> int:
    return -running.wait(10)


def test_a_drain_is_sigterm_and_when_the_grace_is_over_sigkill():
    with process("sh", "-c", "trap '' TERM; echo; exec sleep 60", stdout=PIPE) as running:
        running.stdout.readline()  # it ignores SIGTERM from here on
        child = make_child(state=S.RUNNING, pid=running.pid)
        child.end(drain(30.0), 100.0)
        assert (child.state, child.deadline) == (S.STOPPING, 100.0 + 30.0 + KILL_MARGIN)
        child.tick(100.0 + 30.0 + KILL_MARGIN - 0.1)
        assert not child.killed
        child.tick(100.0 + 30.0 + KILL_MARGIN)
        assert child.killed
        assert exit_signal(running) == signal.SIGKILL


@pytest.mark.parametrize(
    ("stop", "number"),
    [
        (drain(5.0), signal.SIGTERM),
        (hand_back(), signal.SIGQUIT),
        (abort(), signal.SIGABRT),
        (kill(), signal.SIGKILL),
    ],
)
def test_the_first_signal_of_each_stop(stop, number):
    with process() as running:
        child = make_child(state=S.RUNNING, pid=running.pid)
        child.end(stop, 100.0)
        assert child.state is S.STOPPING
        assert exit_signal(running) == number


def test_an_abort_is_followed_by_sigkill():
    child = make_child(state=S.RUNNING)
    child.end(abort(), 100.0)
    assert child.deadline == 100.0 + DUMP_TIME
    child.tick(100.0 + DUMP_TIME)
    assert child.deadline is None


def test_what_leaves_by_itself_gets_no_signal_but_a_deadline():
    with process() as running:
        child = make_child(state=S.RUNNING, pid=running.pid)
        child.end(leaving(10.0), 100.0)
        assert running.poll() is None
        child.tick(100.0 + 10.0 + KILL_MARGIN)
        assert exit_signal(running) == signal.SIGKILL


def test_a_harder_stop_replaces_a_softer_one_and_never_the_reverse():
    child = make_child(state=S.RUNNING)
    child.end(drain(30.0), 100.0)
    child.end(hand_back(), 101.0)
    assert child.stop.force is Force.HAND_BACK
    child.end(drain(30.0), 102.0)
    assert child.stop.force is Force.HAND_BACK
    assert child.deadline == 101.0 + KILL_MARGIN


def test_a_signal_before_the_pid_is_known_is_sent_when_it_is():
    with process() as running:
        child = make_child()
        child.end(drain(5.0), 100.0)
        assert child.state is S.STOPPING
        child.born(running.pid, 103.0)
        assert child.deadline == 103.0 + 5.0 + KILL_MARGIN
        assert exit_signal(running) == signal.SIGTERM


def test_one_that_is_never_ready_is_aborted():
    with process() as running:
        child = make_child()
        child.tick(100.0 + START_TIMEOUT)  # its template is busy: no fault of its own
        child.born(running.pid, 200.0)
        child.tick(200.0 + START_TIMEOUT - 0.1)
        assert child.state is S.STARTING
        child.tick(200.0 + START_TIMEOUT)
        assert child.state is S.STOPPING
        assert child.stop.force is Force.ABORT


def test_one_that_lives_on_without_a_channel_is_aborted():
    with process() as running:
        child = make_child(state=S.RUNNING, pid=running.pid)
        child.their_channel.close()
        child.channel.receive()
        child.tick(200.0)
        assert child.state is S.RUNNING  # usually it is just about to exit
        child.tick(200.0 + EOF_GRACE + 0.1)
        assert child.stop.force is Force.ABORT


def test_stopping_a_child_whose_process_is_gone_is_no_error():
    with process("true") as running:
        running.wait()
        child = make_child(state=S.RUNNING, pid=running.pid)
        child.end(kill(), 100.0)
        assert child.state is S.STOPPING


def test_what_does_not_live_cannot_be_stopped():
    child = make_child(state=S.BACKOFF)
    child.end(kill(), 100.0)
    assert child.state is S.BACKOFF
