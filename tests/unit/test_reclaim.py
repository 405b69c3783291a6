"""Every verdict has its settlement."""

from __future__ import annotations

import json
import signal
from dataclasses import replace

import pytest

from queued.daemon.monitor.reclaim import MAX_CRASHES, Dossier, Loss, reclaim, reclaim_lost
from queued.daemon.verdict import Sentence, Verdict
from queued.drivers.base import Ack, Charge, Counts, Fail, Release, Reservation, Retry

STACK = """\
Job other (most recent call first):
  File "work.py", line 1 in other

Job job-1 (most recent call first):
  File "work.py", line 2 in mine

Fatal Python error: Aborted

Current thread 0x1 (most recent call first):
  File "work.py", line 3 in main"""
DOSSIER = Dossier(worker="emails/2", at=1_700_000_000.0, host="a", signal=signal.SIGSEGV)
PAYLOAD = b'{"v":1,"job":"app.jobs.SendEmail"}\n{"to":"a@b.c"}'


def held(**counts: int) -> Reservation:
    return Reservation("job-1", PAYLOAD, 7, 1.0, 2.0, 3.0, Counts(**counts))


def sentence(verdict: Verdict, *, max_tries: int = 3, retry_in: float = 10.0) -> Sentence:
    return Sentence(verdict, "app.jobs.SendEmail", 7, max_tries, retry_in, 1.25, limit=1.0)


def test_a_finished_job_is_acknowledged_and_was_counted_by_its_worker() -> None:
    one = reclaim(held(), sentence(Verdict.FINISHED), DOSSIER)
    assert one.settlement == Ack("job-1", 7)
    assert (one.reason, one.outcome, one.error) == ("finished", None, None)


@pytest.mark.parametrize(("crashes", "delay"), [(0, 0.0), (1, 2.0)])
def test_a_crash_alone_is_run_again_ever_later(crashes: int, delay: float) -> None:
    one = reclaim(held(crashes=crashes), sentence(Verdict.CRASHED), DOSSIER)
    assert isinstance(one.settlement, Retry)
    assert one.settlement[:4] == ("job-1", 7, delay, Charge.CRASH)
    assert (one.reason, one.outcome, one.error) == ("crashed", "lost", "JobCrashed")
    note = json.loads(one.settlement.note)
    assert note["worker"] == "emails/2"
    assert note["run"] == crashes + 1
    assert note["at"] == DOSSIER.at
    assert "SIGSEGV" in note["error"]


def test_the_third_crash_alone_fails_the_job() -> None:
    one = reclaim(held(crashes=MAX_CRASHES - 1), sentence(Verdict.CRASHED), DOSSIER)
    assert isinstance(one.settlement, Fail)
    assert one.settlement.charge is Charge.CRASH
    assert one.settlement.hook == 0, "any worker may run its failed() at once"
    assert (one.reason, one.outcome) == ("crashed", "failed")
    record = json.loads(one.settlement.record)
    assert record["type"] == "queued.errors.JobCrashed"
    assert record["reason"] == "crashed"
    assert record["job"] == "app.jobs.SendEmail"
    assert record["dossier"] == {
        "ending": "was killed by SIGSEGV",
        "worker": "emails/2",
        "host": "a",
        "signal": signal.SIGSEGV,
        "oom": False,
        "run": 3,
        "ran": 1.25,
    }


def test_crashes_beside_others_and_tries_do_not_fail_a_job() -> None:
    one = reclaim(held(errors=2, lost=9, releases=9), sentence(Verdict.CRASHED), DOSSIER)
    assert isinstance(one.settlement, Retry)


def test_a_suspect_is_released_and_loses_no_try() -> None:
    one = reclaim(held(errors=2), sentence(Verdict.SUSPECT, max_tries=1), DOSSIER)
    assert isinstance(one.settlement, Release)
    assert one.settlement.charge is Charge.LOST
    assert (one.reason, one.outcome) == ("suspect", "lost")


def test_a_timeout_is_charged_as_a_try() -> None:
    one = reclaim(held(errors=1), sentence(Verdict.TIMED_OUT), DOSSIER)
    assert isinstance(one.settlement, Retry)
    assert one.settlement[:4] == ("job-1", 7, 10.0, Charge.TIMEOUT)
    assert (one.reason, one.outcome, one.error) == ("timed_out", "timed_out", "JobTimeout")


@pytest.mark.parametrize(("errors", "timeouts", "max_tries"), [(0, 0, 1), (1, 1, 3), (5, 0, 3)])
def test_a_timeout_on_the_last_try_fails(errors: int, timeouts: int, max_tries: int) -> None:
    before = held(errors=errors, timeouts=timeouts)
    one = reclaim(before, sentence(Verdict.TIMED_OUT, max_tries=max_tries), DOSSIER)
    assert isinstance(one.settlement, Fail)
    assert one.settlement.charge is Charge.TIMEOUT
    assert one.settlement.hook == 0
    assert one.outcome == "timed_out"
    record = json.loads(one.settlement.record)
    assert record["type"] == "queued.errors.JobTimeout"
    assert record["error"].startswith("JobTimeout: still running after 1.2 s of 1s; it could not")


def test_a_bystander_is_handed_back_uncharged() -> None:
    one = reclaim(held(), sentence(Verdict.BYSTANDER, max_tries=1), DOSSIER)
    assert isinstance(one.settlement, Release)
    assert one.settlement.charge is Charge.RELEASE
    assert (one.reason, one.outcome) == ("bystander", "released")


@pytest.mark.parametrize("judged", [None, sentence(Verdict.NOT_STARTED)])
def test_what_never_began_is_handed_back_without_a_trace(judged: Sentence | None) -> None:
    one = reclaim(held(), judged, DOSSIER)
    assert one.settlement == Release("job-1", 7, Charge.NONE)
    assert (one.reason, one.outcome) == ("not_started", None)


@pytest.mark.parametrize("loss", Loss)
def test_a_lost_owners_jobs_become_suspects(loss: Loss) -> None:
    one = reclaim_lost(held(lost=1), loss, DOSSIER)
    assert isinstance(one.settlement, Release)
    assert one.settlement.charge is Charge.LOST
    assert (one.reason, one.outcome) == (loss.value, "lost")
    assert json.loads(one.settlement.note)["run"] == 2


def test_a_corrupt_payload_is_settled_like_any_other() -> None:
    garbage = held()._replace(payload=b"\xff\x00")
    one = reclaim(garbage, sentence(Verdict.CRASHED), DOSSIER)
    assert one.job == "app.jobs.SendEmail", "the scoreboard knows better"
    assert reclaim(garbage, None, DOSSIER).job == ""


@pytest.mark.parametrize(
    ("frame", "ending"),
    [
        ({"signal": 9}, "was killed by SIGKILL"),
        ({"signal": 42}, "was killed by signal 42"),
        ({"exit_code": 3}, "exited with code 3"),
        ({"exit_code": 0}, "exited with code 0"),
        ({"signal": None, "exit_code": None}, "is gone"),
        ({"signal": 9, "oom": True}, "was killed by the kernel for memory (SIGKILL)"),
        ({"signal": 6, "overran": ["a"]}, "was killed for a job past its deadline (SIGABRT)"),
    ],
)
def test_a_dossier_says_how_it_ended(frame: dict[str, int], ending: str) -> None:
    dossier = Dossier.from_frame(frame, worker="a/1", at=5.0)
    assert dossier.ending == ending
    assert (dossier.worker, dossier.at) == ("a/1", 5.0)
    known = dossier.of("job-1", run=1, ran=0.5)
    assert known["ending"] == ending
    assert all(value not in (None, "", [], ()) for value in known.values())


def test_a_suspect_whose_lease_ran_out_had_run_alone() -> None:
    first = reclaim_lost(held(lost=2, suspicion=2), Loss.LEASE_EXPIRED, DOSSIER)
    assert isinstance(first.settlement, Retry)
    assert first.settlement.charge is Charge.CRASH
    assert first.reason == "lease_expired"
    third = reclaim_lost(held(crashes=2, suspicion=2), Loss.LEASE_EXPIRED, DOSSIER)
    assert isinstance(third.settlement, Fail)
    boot = reclaim_lost(held(lost=2, suspicion=2), Loss.EARLIER_BOOT, DOSSIER)
    assert isinstance(boot.settlement, Release)


@pytest.mark.parametrize(
    "verdict", [Verdict.CRASHED, Verdict.SUSPECT, Verdict.TIMED_OUT, Verdict.BYSTANDER]
)
def test_the_note_of_a_run_has_the_dossier_in_brief(verdict: Verdict) -> None:
    dossier = replace(DOSSIER, pid=7, reason="signal", peak_memory=99, stack=STACK, log=["a"] * 20)
    one = reclaim(held(lost=1), sentence(verdict), dossier)
    known = json.loads(one.settlement.note)["dossier"]
    stack = known.pop("stack", None)
    assert known == {
        "ending": "was killed by SIGSEGV",
        "host": "a",
        "pid": 7,
        "reason": "signal",
        "signal": signal.SIGSEGV,
        "oom": False,
        "peak_memory": 99,
        "ran": 1.25,
    }
    own = 'Job job-1 (most recent call first):\n  File "work.py", line 2 in mine'
    assert stack == (None if verdict is Verdict.BYSTANDER else own)


def test_the_record_has_all_of_it_with_the_jobs_own_place_first() -> None:
    dossier = replace(DOSSIER, stack=STACK, log=["one", "two"], overran=["job-1", "other"])
    one = reclaim(held(), sentence(Verdict.TIMED_OUT, max_tries=1), dossier)
    assert isinstance(one.settlement, Fail)
    known = json.loads(one.settlement.record)["dossier"]
    blocks = known["stack"].split("\n\n")
    assert [block.split(" (")[0] for block in blocks] == [
        "Job job-1",
        "Job other",
        "Fatal Python error: Aborted",
        "Current thread 0x1",
    ]
    assert (known["log"], known["overran"]) == (["one", "two"], ["job-1", "other"])
