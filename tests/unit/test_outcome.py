"""What a run's end means: every way to end, every count, and words that are safe to keep."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queued.drivers import base
from queued.drivers.states import Charge
from queued.errors import CorruptPayload, JobCrashed, JobTimeout, UnknownJob
from queued.jobs.backoff import Backoff
from queued.jobs.limits import Limits
from queued.jobs.outcome import HOOK_AFTER, Decision, Fail, Outcome, Retry, decide, exception_of
from queued.jobs.records import MAX_NOTE, MAX_TRACEBACK, note, record, trace
from queued.jobs.registry import lookup

LIMITS = Limits(max_tries=3, timeout=30.0, backoff=Backoff((10.0, 20.0)))
PAYLOAD = b'{"v":1,"job":"app.jobs.SendEmail"}\n{}'


def reserved(payload: bytes = PAYLOAD, **counts: int) -> base.Reservation:
    return base.Reservation(
        "id-1",
        payload,
        7,
        enqueued_at=1.0,
        ready_at=2.0,
        reserved_at=3.0,
        counts=base.Counts(**counts),
    )


def ended(
    error: BaseException | None,
    *,
    hook: bool = False,
    timed_out: bool = False,
    readable: bool = True,
    **counts: int,
) -> Decision:
    return decide(
        reserved(**counts),
        error,
        LIMITS,
        worker="emails/1",
        hook=hook,
        now=1_700_000_000.1234,
        timed_out=timed_out,
        readable=readable,
    )


def failure(decision: Decision) -> tuple[base.Fail, dict[str, Any]]:
    assert isinstance(decision.settlement, base.Fail)
    return decision.settlement, json.loads(decision.settlement.record)


def raised(error: BaseException) -> BaseException:
    """Return the error with a traceback through this file."""
    try:
        raise error  # noqa: TRY301 - to give it a traceback
    except BaseException as caught:  # noqa: BLE001
        return caught


def test_a_success_is_acknowledged() -> None:
    assert ended(None) == Decision(base.Ack("id-1", 7), Outcome.SUCCEEDED)


def test_an_error_is_tried_again_after_the_backoff() -> None:
    first, second = ended(ValueError("boom")), ended(ValueError("boom"), errors=1)

    assert isinstance(first.settlement, base.Retry)
    assert first.settlement[:4] == ("id-1", 7, 10.0, Charge.ERROR)
    assert isinstance(second.settlement, base.Retry)
    assert second.settlement.delay == 20.0
    assert first.outcome is Outcome.RETRIED
    assert first.error == "ValueError: boom"
    assert first.message == "SendEmail runs again in 10s (try 1 of 3): ValueError: boom"


def test_the_last_try_fails_the_job() -> None:
    decision = ended(raised(ValueError("boom")), errors=1, timeouts=1)
    settlement, stored = failure(decision)

    assert decision.outcome is Outcome.FAILED
    assert decision.message == "SendEmail failed after 3 tries: ValueError: boom"
    assert (settlement.charge, settlement.hook) == (Charge.ERROR, None)
    assert stored.pop("traceback").endswith("ValueError: boom\n")
    assert stored == {
        "error": "ValueError: boom",
        "type": "builtins.ValueError",
        "at": 1_700_000_000.123,
        "worker": "emails/1",
        "job": "app.jobs.SendEmail",
        "reason": "max_tries",
    }


def test_crashes_lost_runs_and_releases_cost_no_try() -> None:
    decision = ended(ValueError(), crashes=2, lost=5, releases=9)

    assert isinstance(decision.settlement, base.Retry)
    assert "(try 1 of 3)" in decision.message
    assert json.loads(decision.settlement.note)["run"] == 17


@pytest.mark.parametrize(
    ("error", "readable", "reason"),
    [
        (Fail("no such customer"), True, "fail"),
        (UnknownJob("no such class"), False, "unknown_job"),
        (CorruptPayload("no header"), False, "corrupt_payload"),
    ],
)
def test_some_ends_are_final_at_once(error: Exception, *, readable: bool, reason: str) -> None:
    decision = ended(error, readable=readable)

    assert failure(decision)[1]["reason"] == reason
    assert decision.outcome is Outcome.FAILED
    assert decision.message.startswith("SendEmail failed on its first try: ")


def test_a_hook_is_due_later_except_where_there_is_no_instance() -> None:
    assert failure(ended(Fail(), hook=True))[0].hook == HOOK_AFTER
    assert failure(ended(Fail(), hook=False))[0].hook is None
    assert failure(ended(UnknownJob(), hook=True, readable=False))[0].hook is None


@pytest.mark.parametrize("error", [UnknownJob("x"), CorruptPayload("x")])
def test_what_a_job_raises_is_an_error_like_others_whatever_its_name(error: Exception) -> None:
    assert isinstance(ended(error).settlement, base.Retry)
    fail, record = failure(ended(error, hook=True, errors=2))
    assert record["reason"] == "max_tries"
    assert fail.hook == HOOK_AFTER


@pytest.mark.parametrize("in_", [300, "5m", timedelta(minutes=5), 300.0])
def test_retry_says_when(in_: Any) -> None:
    decision = ended(Retry("rate limited", in_=in_))

    assert isinstance(decision.settlement, base.Retry)
    assert (decision.settlement.delay, decision.settlement.charge) == (300.0, Charge.ERROR)
    assert decision.outcome is Outcome.RETRIED
    assert decision.error == "Retry: rate limited"


def test_retry_may_be_at_once_or_leave_it_to_the_backoff() -> None:
    at_once, backoff = ended(Retry(in_=0)), ended(Retry())

    assert isinstance(at_once.settlement, base.Retry)
    assert at_once.settlement.delay == 0
    assert "runs again at once" in at_once.message
    assert isinstance(backoff.settlement, base.Retry)
    assert backoff.settlement.delay == 10.0


def test_retry_costs_a_try_so_that_it_ends() -> None:
    decision = ended(Retry("rate limited", in_=60), errors=2)

    assert failure(decision)[1]["reason"] == "max_tries"


def test_retry_refuses_nonsense_where_it_is_raised() -> None:
    with pytest.raises(TypeError, match=r"write Retry\(in_=60\)"):
        Retry(60)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="duration"):
        Retry(in_="soon")


def test_a_timeout_is_charged_as_one() -> None:
    again, last = ended(None, timed_out=True), ended(None, timed_out=True, errors=2)

    assert isinstance(again.settlement, base.Retry)
    assert (again.settlement.charge, again.outcome) == (Charge.TIMEOUT, Outcome.TIMED_OUT)
    assert again.error == "JobTimeout: SendEmail ran longer than its timeout of 30s"
    settlement, stored = failure(last)
    assert (settlement.charge, last.outcome) == (Charge.TIMEOUT, Outcome.TIMED_OUT)
    assert (stored["type"], stored["reason"]) == ("queued.errors.JobTimeout", "timed_out")


def test_a_timeout_keeps_the_traceback_of_where_the_job_was() -> None:
    error = JobTimeout("SendEmail ran longer than 30s")
    error.__cause__ = raised(ValueError("was here"))

    assert "was here" in failure(ended(error, timed_out=True, errors=2))[1]["traceback"]


@pytest.mark.parametrize(
    "error",
    [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), ExceptionGroup("g", [ValueError()])],
)
def test_whatever_ends_a_run_is_an_error(error: BaseException) -> None:
    assert isinstance(ended(error).settlement, base.Retry)
    assert isinstance(ended(error, errors=2).settlement, base.Fail)


def test_an_error_that_cannot_be_pickled_or_printed_is_stored_as_text() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    locks = failure(ended(raised(ValueError(threading.Lock())), errors=2))[1]
    odd = failure(ended(raised(Odd(object())), errors=2))[1]

    assert "_thread.lock" in locks["error"]
    assert odd["error"] == "Odd: (its message cannot be printed)"


def test_an_unreadable_payload_has_no_name() -> None:
    decision = decide(
        reserved(b"\xff"),
        CorruptPayload("x"),
        LIMITS,
        worker="w",
        hook=False,
        now=0,
        readable=False,
    )

    assert decision.message.startswith("? failed")


def test_no_line_of_an_error_reaches_a_log() -> None:
    decision = ended(ValueError("a\nERROR forged\x1b[2J"))

    assert "\n" not in decision.message
    assert "\x1b" not in decision.message
    assert isinstance(decision.settlement, base.Retry)
    assert json.loads(decision.settlement.note)["error"] == r"ValueError: a\nERROR forged\x1b[2J"


@given(st.text(), st.text(alphabet='\n"\\\x00é😀', min_size=100, max_size=700))
def test_a_note_is_one_json_line_that_fits(short: str, awkward: str) -> None:
    for error in (short, awkward, short * 50):
        line = note(Outcome.RETRIED, at=1_700_000_000.5, error=error, worker="w" * 64, run=10**6)

        assert len(line) <= MAX_NOTE
        assert b"\n" not in line
        assert json.loads(line)["outcome"] == "retried"


def test_a_note_is_cut_no_more_than_needed() -> None:
    line = note(Outcome.RETRIED, at=1.0, error="é" * 1000, worker="w", run=1)

    assert len(line) > MAX_NOTE - 16


def test_a_traceback_starts_in_the_users_code_and_is_cut_in_the_middle() -> None:
    def deep(depth: int) -> None:
        if depth == 0:
            raise ValueError("bottom")
        if depth % 2:
            deep(depth - 1)
        else:
            deep(depth - 1)

    try:
        deep(400)
    except ValueError as error:
        text = trace(error)

    assert len(text) <= MAX_TRACEBACK
    assert text.startswith("Traceback")
    assert "… cut …" in text
    assert text.endswith("ValueError: bottom\n")


def test_our_own_frames_are_left_out() -> None:
    try:
        Backoff.parse("soon")
    except ValueError as error:
        through_user = trace(error)

    assert "test_outcome.py" in through_user.splitlines()[1]


def test_what_queued_itself_refuses_is_told_without_our_frames() -> None:
    with pytest.raises(UnknownJob) as caught:
        lookup("app.jobs.Nonsuch")
    theirs = caught.value.__traceback__
    assert theirs
    text = trace(caught.value.with_traceback(theirs.tb_next))

    assert text.startswith("queued.errors.UnknownJob: ")
    assert text.count("\n") == 1


def test_an_exception_for_a_hook_elsewhere_is_made_without_looking_up_classes() -> None:
    def stored(kind: str, error: str) -> bytes:
        return record(error=error, kind=kind, trace="", at=1, worker="w", job="j", reason="crashed")

    crashed = exception_of(stored("JobCrashed", "JobCrashed: SIGSEGV"))
    timeout = exception_of(stored("queued.errors.JobTimeout", "JobTimeout: 30s"))
    other = exception_of(stored("os.system", "system: rm"))

    assert (type(crashed), str(crashed)) == (JobCrashed, "SIGSEGV")
    assert (type(timeout), str(timeout)) == (JobTimeout, "30s")
    assert (type(other), str(other)) == (Fail, "system: rm")
    assert type(exception_of(b"\xff")) is Fail
    assert type(exception_of(b"[]")) is Fail
