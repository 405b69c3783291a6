"""Why a child ended: every reason, how the jobs that it held are judged, and what counts."""

from __future__ import annotations

import os
import signal

import pytest

from queued.daemon.master.child import ChildState, abort, drain, hand_back, kill, leaving
from queued.daemon.master.deaths import NEVER_BORN, Exit, classify, died_at_fork, reap
from queued.daemon.master.obituary import Graves, crash_of, grave_of
from queued.daemon.spec import MonitorSpec
from tests.unit.children import make_child

RUNNING = ChildState.RUNNING


def exited(code: int) -> Exit:
    return Exit(1, code << 8, 0)


def killed(number: int) -> Exit:
    return Exit(1, number, 0)


def told(child, exit_, **options) -> tuple[str, str, bool]:
    ending = classify(child, exit_, **options)
    return str(ending.reason), str(ending.cause), ending.counts


@pytest.mark.parametrize(
    ("reason", "counts"),
    [
        ("max_jobs", False),
        ("max_time", False),
        ("drained", False),
        ("empty", False),
        ("max_memory", True),
        ("owner_lost", True),
    ],
)
def test_what_leaves_as_planned(reason, counts):
    child = make_child(state=RUNNING)
    child.leaving = reason
    child.end(leaving(30.0), 100.0)
    assert told(child, exited(0)) == (reason, "released", counts)


def test_a_reason_that_is_not_in_the_catalogue_counts_as_drained():
    child = make_child(state=RUNNING)
    child.leaving = "orphaned"
    assert told(child, exited(0)) == ("drained", "released", False)


def test_an_exit_without_a_word_is_a_crash_even_with_code_0():
    assert told(make_child(state=RUNNING), exited(0)) == ("crash", "crash", True)
    assert told(make_child(state=RUNNING), exited(3)) == ("crash", "crash", True)


def test_a_word_does_not_excuse_a_wrong_code():
    child = make_child(state=RUNNING)
    child.leaving = "max_jobs"
    assert told(child, exited(1)) == ("crash", "crash", True)


def test_a_signal_from_elsewhere():
    assert told(make_child(state=RUNNING), killed(signal.SIGKILL)) == ("signal", "crash", True)
    assert told(make_child(state=RUNNING), killed(signal.SIGSEGV), oom=True)[0] == "signal"


def test_a_kill_for_memory():
    child = make_child(state=RUNNING)
    assert told(child, killed(signal.SIGKILL), oom=True) == ("oom", "crash", True)


def test_an_error_before_it_was_ready():
    assert told(make_child(), exited(78)) == ("boot_error", "crash", True)
    child = make_child()
    child.end(abort(), 130.0)  # it took too long
    assert told(child, killed(signal.SIGABRT)) == ("boot_error", "crash", True)


def test_a_kill_for_a_deadline():
    child = make_child(state=RUNNING)
    child.end(abort(frozenset({"job-1"})), 100.0)
    for exit_ in (killed(signal.SIGABRT), killed(signal.SIGKILL), exited(70)):
        assert told(child, exit_) == ("hung", "killed_for_deadline", False)


def test_a_kill_for_silence():
    child = make_child(state=RUNNING)
    child.end(abort(), 200.0)
    assert told(child, killed(signal.SIGABRT)) == ("hung", "crash", True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_asked_to_go_before_it_had_handlers(number):
    child = make_child()
    child.end(drain(30.0), 100.0)
    assert told(child, killed(number)) == ("drained", "released", False)


def test_asked_to_go_and_gone_without_a_word():
    child = make_child(state=RUNNING)
    child.end(drain(30.0), 100.0)
    assert told(child, exited(0)) == ("drained", "released", False)
    child.board.begin(0, "job-1", "Send", 1, 100.0, 0.0, 3, 0.0)
    assert told(child, exited(0)) == ("crash", "crash", False)  # a job's os._exit(0)


def test_the_grace_ran_out():
    child = make_child(state=RUNNING, pid=2**22 + 1)
    child.end(drain(30.0), 100.0)
    child.tick(1000.0)
    assert told(child, killed(signal.SIGKILL)) == ("hung", "released", False)


def test_a_crash_while_it_drained():
    child = make_child(state=RUNNING)
    child.end(hand_back(), 100.0)
    assert told(child, killed(signal.SIGSEGV)) == ("signal", "crash", False)


def test_killed_since_somebody_insisted():
    child = make_child(state=RUNNING)
    child.end(kill(), 100.0)
    assert told(child, killed(signal.SIGKILL)) == ("drained", "released", False)


def test_a_monitor_says_nothing_when_it_goes():
    child = make_child(state=RUNNING, made_from=MonitorSpec(install="i", boot="b", url="u"))
    child.end(drain(5.0), 100.0)
    assert told(child, exited(0)) == ("drained", "released", False)


@pytest.mark.parametrize(
    ("exit_", "text"),
    [
        (exited(3), "exit code 3"),
        (killed(signal.SIGSEGV), "SIGSEGV"),
        (killed(signal.SIGRTMIN + 2), f"signal {signal.SIGRTMIN + 2}"),
    ],
)
def test_how_it_is_said(exit_, text):
    assert exit_.text == text


def test_the_grave_of_a_worker_tells_all_that_is_known():
    child = make_child(state=RUNNING)
    child.board.begin(0, "job-1", "Send", 1, 90.0, 0.0, 3, 2.0)
    exit_ = Exit(7, signal.SIGSEGV, 1024)
    child.board.recorder.arm()
    try:
        child.board.recorder.line(b"about to die\n")
        child.board.recorder.places("Job job-1 (most recent call first):")
        frame = grave_of(child, exit_, classify(child, exit_), now=101.5, at=5.0)
    finally:
        child.board.recorder.disarm()
    assert frame["owner"] == child.owner
    assert frame["queue"] == "emails"
    assert frame["sentences"]["job-1"]["verdict"] == "crashed"
    assert frame["sentences"]["job-1"]["ran"] == 11.5
    dossier = frame["dossier"]
    assert (dossier["worker"], dossier["signal"], dossier["exit_code"]) == ("emails/1", 11, None)
    assert (dossier["reason"], dossier["peak_memory"], dossier["at"]) == ("signal", 1024, 5.0)
    assert dossier["host"]
    assert (dossier["oom"], dossier["lived"], dossier["overran"]) == (False, 1.5, [])
    assert dossier["log"] == ["about to die"]
    assert dossier["stack"] == "Job job-1 (most recent call first):"


def test_a_worker_that_nobody_has_to_answer_for_leaves_no_stacks():
    """They are told again each second until a burial is done: only what somebody asks for."""
    child = make_child(state=RUNNING)
    child.board.begin(0, "job-1", "Send", 1, 90.0, 0.0, 3, 2.0)
    child.board.finish(0, ok=True)
    exit_ = killed(signal.SIGKILL)
    dossier = grave_of(child, exit_, classify(child, exit_), now=101.5, at=5.0)["dossier"]
    assert dossier["signal"] == signal.SIGKILL
    assert "stack" not in dossier
    assert "log" not in dossier


def test_status_tells_of_crashes_only():
    child = make_child(state=RUNNING)
    exit_ = Exit(7, signal.SIGKILL, 1024)
    crash = crash_of(child, exit_, classify(child, exit_, oom=True), at=5.0)
    assert crash == {
        "worker": "emails/1",
        "pid": 7,
        "at": 5.0,
        "reason": "oom",
        "how": "SIGKILL",
        "peak_memory": 1024,
    }
    child.leaving = "max_jobs"
    assert crash_of(child, exited(0), classify(child, exited(0)), at=5.0) is None
    assert crash_of(make_child(), NEVER_BORN, classify(make_child(), NEVER_BORN), at=5.0) is None


def test_graves_are_told_until_they_are_settled():
    child = make_child(state=RUNNING)
    exit_ = exited(1)
    graves = Graves()
    graves.add(grave_of(child, exit_, classify(child, exit_), now=101.0, at=1.0))
    for _ in range(2):
        graves.tell(child.channel)
    assert [frame["type"] for frame in child.their_channel.receive()] == ["gone", "gone"]
    graves.settled(child.owner)
    graves.settled("nobody")
    assert len(graves) == 0


def test_reaping_takes_the_group_with_it():
    """A process that the dead one had started itself does not outlive it."""
    master = os.fork()  # since reaping takes whoever has ended, tests' servers too
    if master == 0:
        os._exit(0 if leader_and_follower_end() else 1)
    assert os.waitpid(master, 0)[1] == 0


def leader_and_follower_end() -> bool:
    read, write = os.pipe()
    leader = os.fork()
    if leader == 0:
        os.setpgid(0, 0)
        if os.fork() == 0:
            os.write(write, b"x")
            signal.pause()
        os.read(read, 1)  # the follower runs
        os._exit(5)
    os.close(write)
    found = []
    while not found:
        found = list(reap({leader}))
    while os.read(read, 1):  # the end comes when nobody holds the pipe any more
        pass
    return found[0].pid == leader and found[0].code == 5 and found[0].peak_memory > 1024 * 1024


def test_one_that_left_just_before_it_was_killed_has_left():
    child = make_child(state=RUNNING)
    child.leaving = "max_jobs"
    child.end(abort(), 100.0)
    assert told(child, exited(0)) == ("max_jobs", "released", False)


def test_one_that_was_never_forked_is_nobodys_fault():
    assert told(make_child(), NEVER_BORN) == ("boot_error", "released", False)


def test_one_that_imported_code_ended_at_the_fork_is_held_against_its_seat():
    child, exit_ = make_child(), died_at_fork("the new process ended at once")
    assert told(child, exit_) == ("boot_error", "crash", True)
    crash = crash_of(child, exit_, classify(child, exit_), at=5.0)
    assert crash
    assert (crash["pid"], crash["how"]) == (None, "the new process ended at once")
