"""What a run's end means: one settlement for the back-end, and the words for people.

Deciding is pure: it reads what the worker knows and moves nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from queued.drivers import base
from queued.drivers.states import Charge
from queued.errors import (
    BadSignature,
    CorruptPayload,
    EncryptionError,
    JobCrashed,
    JobTimeout,
    UnknownJob,
)
from queued.jobs.limits import Limits
from queued.jobs.payload import job_name
from queued.jobs.records import kind_of, note, record, said_by, trace
from queued.jobs.text import one_line
from queued.units import format_duration, parse_duration

if TYPE_CHECKING:
    from queued.jobs.veil import Veil

OF_PAYLOAD = (BadSignature, CorruptPayload, EncryptionError, UnknownJob)
"""Errors of what is stored, raised before any code of the job has run."""
HOOK_AFTER = 60.0
"""Seconds after which any worker may run a ``failed()`` that the failing worker did not."""


class Retry(Exception):
    """Raised by a job to be run again: ``raise Retry("rate limited", in_=60)``.

    It costs a try like an error does, so that no job goes round for ever: on the last one the job
    fails. ``in_`` is seconds, ``"5m"`` or a timedelta; None leaves it to the backoff.
    """

    def __init__(self, reason: str = "", *, in_: float | str | timedelta | None = None) -> None:
        if not isinstance(reason, str):
            raise TypeError(f"write Retry(in_={reason!r}); what comes first is the reason, as text")
        self.reason = reason
        seconds = in_.total_seconds() if isinstance(in_, timedelta) else in_
        self.in_ = None if seconds is None else parse_duration(seconds)
        super().__init__(reason)


class Fail(Exception):
    """Raised by a job that need not be tried again: ``raise Fail("no such customer")``."""

    def __init__(self, reason: str = "") -> None:
        self.reason = reason
        super().__init__(reason)


class Outcome(StrEnum):
    """How one attempt ended; the values are those of the metrics' label."""

    SUCCEEDED = "succeeded"
    RETRIED = "retried"
    FAILED = "failed"
    """It was the last: the job failed."""
    TIMED_OUT = "timed_out"
    """Whether it is run again or not."""
    RELEASED = "released"
    """Handed back, and not charged: shutdown, or a neighbour's kill."""
    LOST = "lost"
    """Its worker or host died."""


class Decision(NamedTuple):
    """What to tell the back-end, the metrics and the log."""

    settlement: base.Settlement
    outcome: Outcome
    error: str = ""
    """``ValueError: boom``, on one line."""
    message: str = ""
    """A sentence for the log; empty for a success."""


def decide(
    reservation: base.Reservation,
    error: BaseException | None,
    limits: Limits,
    *,
    worker: str,
    hook: bool,
    now: float,
    timed_out: bool = False,
    readable: bool = True,
    dossier: Mapping[str, Any] | None = None,
    veil: Veil | None = None,
) -> Decision:
    """Return what becomes of a job after a run that ended with ``error`` (None: it returned).

    A run that was cancelled for its ``timeout`` is charged as a timeout however it ended after:
    what swallowed the cancellation may have been half done. ``hook``: the class has a ``failed()``;
    ``readable``: there was an instance, so that the error is the job's own and not its payload's;
    ``now`` is wall-clock time in seconds, for the record only; ``dossier`` is of a run that ends
    with its worker; ``veil`` hides what an encrypted job holds.

    What may not be read here (a wrong signature, no key) costs no try: it is no fault of the job's.
    """
    if error is None and not timed_out:
        return Decision(base.Ack(reservation.id, reservation.fence), Outcome.SUCCEEDED)

    job = job_name(reservation.payload) or "?"
    charge = Charge.TIMEOUT if timed_out else Charge.ERROR
    tries = reservation.counts.tries + 1
    run = reservation.counts.runs + 1
    said = _said(error, job, limits, timed_out=timed_out, veil=veil)
    reason = _reason(error, tries, limits, timed_out=timed_out, readable=readable)
    if not readable and isinstance(error, BadSignature | EncryptionError):
        charge = Charge.NONE
    where: dict[str, Any] = {"at": now, "error": said, "worker": worker, "dossier": dossier}

    if reason is None:
        outcome = Outcome.TIMED_OUT if timed_out else Outcome.RETRIED
        delay = limits.delay(tries)
        if isinstance(error, Retry) and error.in_ is not None:
            delay = error.in_
        settlement: base.Settlement = base.Retry(
            reservation.id, reservation.fence, delay, charge, note(outcome, run=run, **where)
        )
        when = f"runs again in {format_duration(delay)}" if delay else "runs again at once"
        message = f"{_short(job)} {when} (try {tries} of {limits.max_tries}): {said}"
        return Decision(settlement, outcome, said, message)

    outcome = Outcome.TIMED_OUT if timed_out else Outcome.FAILED
    failure = error if error is not None else JobTimeout(said)
    settlement = base.Fail(
        reservation.id,
        reservation.fence,
        charge,
        record(kind=kind_of(failure), trace=trace(failure, veil), job=job, reason=reason, **where),
        note(outcome, run=run, **where),
        HOOK_AFTER if hook and readable else None,
    )
    after = f"after {tries} tries" if tries > 1 else "on its first try"
    return Decision(settlement, outcome, said, f"{_short(job)} failed {after}: {said}")


def exception_of(stored: bytes) -> Exception:
    """Return an exception for a ``failed()`` that runs elsewhere than the job did.

    No class is ever looked up by a stored name: a timeout is a ``JobTimeout``, a crash is a
    ``JobCrashed``, and anything else a ``Fail`` with the error's text.
    """
    try:
        values = json.loads(stored)
        kind, error = str(values["type"]).rpartition(".")[2], str(values["error"])
    except (ValueError, TypeError, KeyError):
        return Fail("the record of the failure cannot be read")
    known = {"JobCrashed": JobCrashed, "JobTimeout": JobTimeout}.get(kind)
    return known(error.removeprefix(f"{kind}: ")) if known else Fail(error)


def _reason(
    error: BaseException | None, tries: int, limits: Limits, *, timed_out: bool, readable: bool
) -> str | None:
    """Say why there is no further try; None: there is one."""
    if not readable and isinstance(error, OF_PAYLOAD):
        return error.reason
    if isinstance(error, Fail):
        return "fail"
    if tries >= limits.max_tries:
        return "timed_out" if timed_out else "max_tries"
    if isinstance(error, Retry) and not timed_out:
        return None
    kind = JobTimeout if timed_out or error is None else type(error)
    return limits.retrying.refusal(kind)


def _said(
    error: BaseException | None,
    job: str,
    limits: Limits,
    *,
    timed_out: bool,
    veil: Callable[[str], str] | None,
) -> str:
    if timed_out and not isinstance(error, Fail | Retry | JobTimeout):
        limit = f" of {format_duration(limits.timeout)}" if limits.timeout else ""
        return f"JobTimeout: {_short(job)} ran longer than its timeout{limit}"
    assert error is not None  # nothing to say of a success
    return said_by(error, veil)


def _short(job: str) -> str:
    return one_line(job.rpartition(".")[2], 100)
