"""From a verdict to the settlement that carries it out: what becomes of a dead worker's jobs.

    finished     → ack       only its settlement was missing
    crashed      → retry     charged as a crash; the third one alone fails the job
    suspect      → release   to the head, suspicion rises; from suspicion 2 it runs alone
    timed out    → retry     charged as a timeout; fails when its tries are used up
    bystander    → release   to the head, nothing charged
    not started  → release   to the head, as if it had never been reserved

Pure: nothing here touches a back-end.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, NamedTuple, Self

from queued.daemon.verdict import Sentence, Verdict
from queued.drivers.base import (
    SUSPECT_FROM,
    Ack,
    Charge,
    Fail,
    Release,
    Reservation,
    Retry,
    Settlement,
)
from queued.errors import JobCrashed, JobTimeout
from queued.jobs.dossier import own_first
from queued.jobs.outcome import Outcome
from queued.jobs.payload import job_name
from queued.jobs.records import note as outcome_note
from queued.jobs.records import record as outcome_record
from queued.units import format_duration

MAX_CRASHES = 3
"""A job whose process died this often while it ran alone is failed."""
CRASH_DELAYS = (0.0, 2.0)
"""Seconds before the run after the first crash, the second, ...: a poison pill must not spin."""


class Loss(StrEnum):
    """Why jobs are reclaimed from an owner of whose end nothing more is known."""

    LEASE_EXPIRED = "lease_expired"
    """Its lease ran out: its host is lost, or cut off from the back-end."""
    EARLIER_BOOT = "earlier_boot"
    """It belonged to a daemon of this install that ended without a word."""


_LOSSES = {
    Loss.LEASE_EXPIRED: "the lease of its worker ran out",
    Loss.EARLIER_BOOT: "the daemon of its worker ended, and was started again",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    """What is known of an owner's end."""

    worker: str
    at: float
    """Seconds since the epoch."""
    host: str = ""
    pid: int | None = None
    reason: str = ""
    """As ``worker_exits_total`` counts it."""
    signal: int | None = None
    exit_code: int | None = None
    oom: bool = False
    """The kernel killed it for memory."""
    peak_memory: int | None = None
    """Bytes that were resident at most."""
    memory_limit: int | None = None
    """Bytes that its control group may use."""
    lived: float | None = None
    """Seconds."""
    overran: Sequence[str] = ()
    """Ids of the jobs that it was killed for, since they did not end at their deadline."""
    stack: str = ""
    """Of every thread, and where the jobs that overran waited; empty where it could not tell."""
    log: Sequence[str] = ()
    """Its last lines."""

    @classmethod
    def from_frame(cls, frame: Mapping[str, Any], *, worker: str, at: float) -> Self:
        """Read what the master says of a child that is gone; it may know less than all."""
        known = {one.name: frame[one.name] for one in fields(cls) if one.name in frame}
        return cls(**{"worker": worker, "at": at, **known})

    @property
    def ending(self) -> str:
        """How the process ended, as the rest of a sentence about it."""
        if self.signal:
            try:
                name = signal.Signals(self.signal).name
            except ValueError:  # a real-time signal
                name = f"signal {self.signal}"
            if self.oom:
                return f"was killed by the kernel for memory ({name})"
            if self.overran:
                return f"was killed for a job past its deadline ({name})"
            return f"was killed by {name}"
        if self.exit_code is not None:
            return f"exited with code {self.exit_code}"
        return "is gone"

    def of(self, job_id: str, *, run: int, ran: float) -> dict[str, Any]:
        """Return the dossier of a job that it took along; what is not known is left out.

        :param ran: seconds that the job ran.
        """
        values = {
            **asdict(self),
            "ending": self.ending,
            "run": run,
            "ran": round(ran, 3),
            "stack": own_first(self.stack, job_id),
        }
        del values["at"]
        return {name: value for name, value in values.items() if value not in (None, "", (), [])}


class Reclaim(NamedTuple):
    """How one job is settled for its dead owner, and what that counts as."""

    settlement: Settlement
    reason: str
    job: str
    """The job's class; empty when its payload names none."""
    outcome: Outcome | None = None
    """What the run counts as; None: there was none, or its worker counted it when it ended."""
    error: str | None = None
    """The kind of error that the run counts as."""


def reclaim(held: Reservation, sentence: Sentence | None, dossier: Dossier) -> Reclaim:
    """Return how a reservation of a dead owner is settled.

    :param sentence: the master's judgement; None: it stood on no slot of the scoreboard.
    """
    job = job_name(held.payload) or (sentence.job if sentence else "")
    judged = sentence is not None and sentence.fence == held.fence  # else an earlier run of its id
    if sentence is None or not judged or sentence.verdict is Verdict.NOT_STARTED:
        reason = Verdict.NOT_STARTED.value
        return Reclaim(Release(held.id, held.fence, Charge.NONE), reason, job)
    account = _Account(held, sentence, dossier, job)
    match sentence.verdict:
        case Verdict.FINISHED:
            return account.settled(Ack(held.id, held.fence))
        case Verdict.CRASHED:
            return account.crashed()
        case Verdict.TIMED_OUT:
            return account.timed_out()
        case Verdict.SUSPECT:
            return account.suspect()
        case Verdict.BYSTANDER:
            return account.bystander()


def reclaim_lost(held: Reservation, loss: Loss, dossier: Dossier) -> Reclaim:
    """Return how a job is settled whose owner is gone without a word.

    A suspect ran alone, so it is charged: workers without a master, whose ends nobody judges, would
    else be taken down by it for ever.
    """
    if loss is Loss.LEASE_EXPIRED and held.counts.suspicion >= SUSPECT_FROM:
        job = job_name(held.payload) or ""
        alone = Sentence(Verdict.CRASHED, job, held.fence, max_tries=0, retry_in=0.0, ran=0.0)
        return _Account(held, alone, dossier, job).crashed()._replace(reason=loss.value)
    note = outcome_note(
        Outcome.LOST,
        at=dossier.at,
        error=_LOSSES[loss],
        worker=dossier.worker,
        run=held.counts.runs + 1,
    )
    settlement = Release(held.id, held.fence, Charge.LOST, note)
    return Reclaim(settlement, loss.value, job_name(held.payload) or "", Outcome.LOST)


@dataclass(frozen=True, slots=True)
class _Account:
    """One run that ended with its process, and the papers about it."""

    held: Reservation
    sentence: Sentence
    dossier: Dossier
    job: str

    def crashed(self) -> Reclaim:
        held = self.held
        crashes = held.counts.crashes + 1
        error = f"JobCrashed: its worker {self.ending} while it ran alone"
        if crashes < MAX_CRASHES:
            delay = CRASH_DELAYS[min(crashes, len(CRASH_DELAYS)) - 1]
            note = self.note(Outcome.LOST, error)
            retry = Retry(held.id, held.fence, delay, Charge.CRASH, note)
            return self.settled(retry, Outcome.LOST, JobCrashed)
        record = self.record(f"{error} (crash {crashes})", JobCrashed)
        note = self.note(Outcome.FAILED, error)
        fail = Fail(held.id, held.fence, Charge.CRASH, record, note, hook=0)
        return self.settled(fail, Outcome.FAILED, JobCrashed)

    def timed_out(self) -> Reclaim:
        held, sentence = self.held, self.sentence
        limit = f" of {format_duration(sentence.limit)}" if sentence.limit else ""
        error = (
            f"JobTimeout: still running after {sentence.ran:.1f} s{limit}; "
            "it could not be cancelled, so its worker was killed"
        )
        note = self.note(Outcome.TIMED_OUT, error)
        settlement: Settlement
        if held.counts.tries + 1 < sentence.max_tries:
            settlement = Retry(held.id, held.fence, sentence.retry_in, Charge.TIMEOUT, note)
        else:
            record = self.record(error, JobTimeout)
            settlement = Fail(held.id, held.fence, Charge.TIMEOUT, record, note, hook=0)
        return self.settled(settlement, Outcome.TIMED_OUT, JobTimeout)

    def suspect(self) -> Reclaim:
        note = self.note(Outcome.LOST, f"its worker {self.ending} while others ran too")
        release = Release(self.held.id, self.held.fence, Charge.LOST, note)
        return self.settled(release, Outcome.LOST)

    def bystander(self) -> Reclaim:
        error = f"handed back: its worker {self.dossier.ending}"
        note = self.note(Outcome.RELEASED, error, involved=False)
        release = Release(self.held.id, self.held.fence, Charge.RELEASE, note)
        return self.settled(release, Outcome.RELEASED)

    def settled(
        self,
        settlement: Settlement,
        outcome: Outcome | None = None,
        error: type[Exception] | None = None,
    ) -> Reclaim:
        kind = error.__name__ if error else None
        return Reclaim(settlement, self.sentence.verdict.value, self.job, outcome, kind)

    @property
    def ending(self) -> str:
        return f"{self.dossier.ending} {self.sentence.ran:.1f} s after the job's start,"

    def note(self, outcome: Outcome, error: str, *, involved: bool = True) -> bytes:
        """Return the note of the run.

        :param involved: whether the worker may have died of it: it says where the code was then.
        """
        dossier = self._dossier()
        if not involved:
            dossier.pop("stack", None)
        return outcome_note(
            outcome,
            at=self.dossier.at,
            error=error,
            worker=self.dossier.worker,
            run=self._run,
            dossier=dossier,
        )

    def record(self, error: str, kind: type[Exception]) -> bytes:
        """Return the record of the failure, with the whole dossier of the worker."""
        return outcome_record(
            error=error,
            kind=f"{kind.__module__}.{kind.__name__}",
            trace="",
            at=self.dossier.at,
            worker=self.dossier.worker,
            job=self.job,
            reason=self.sentence.verdict.value,
            dossier=self._dossier(),
        )

    @property
    def _run(self) -> int:
        return self.held.counts.runs + 1

    def _dossier(self) -> dict[str, Any]:
        return self.dossier.of(self.held.id, run=self._run, ran=self.sentence.ran)
