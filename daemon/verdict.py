"""What becomes of the jobs that a dead worker held, judged by its scoreboard.

The master judges, the monitor carries it out: each verdict becomes one settlement. A job that the
back-end says the owner held and that stands on no slot was reserved and never begun: NOT_STARTED.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self

from queued.daemon.scoreboard import Slot, SlotState
from queued.units import LONGEST

HOOK_FENCE = 0
"""In place of a reservation's, on the slot of a ``failed()``: its job is not held any more."""


class Verdict(StrEnum):
    FINISHED = "finished"
    """Its code had ended well; only the settlement was not stored: acknowledge."""
    CRASHED = "crashed"
    """It ran alone, or had just failed, when its process died: charged as a crash."""
    SUSPECT = "suspect"
    """It ran beside others when the process died: suspicion rises, nothing is charged."""
    TIMED_OUT = "timed_out"
    """It was past its deadline and the process was killed for it: charged as a timeout."""
    BYSTANDER = "bystander"
    """It ran (or failed, unsettled) in a process that had to go for other reasons: handed back."""
    NOT_STARTED = "not_started"
    """None of its code ran: handed back as if it had never been reserved."""


class Cause(StrEnum):
    """Why the process is gone."""

    CRASH = "crash"
    """By itself: a signal, an exit that it had not announced, a kill for hanging."""
    KILLED_FOR_DEADLINE = "killed_for_deadline"
    """By us, since a job was past its deadline and could not be cancelled."""
    RELEASED = "released"
    """As planned, or killed when a grace ran out: whatever it still held goes back."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """A verdict with what its settlement needs to know of the job."""

    verdict: Verdict
    job: str
    fence: int
    """Of the reservation that was judged: a later one of the same job never began."""
    max_tries: int
    retry_in: float
    """Seconds until the next run after a timeout."""
    ran: float
    """Seconds from its start to the judgement."""
    limit: float = 0.0
    """Seconds that it might run; 0: for ever."""

    def to_frame(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_frame(cls, frame: dict[str, Any]) -> Self:
        return cls(**{**frame, "verdict": Verdict(frame["verdict"])})


def judge(
    slots: Iterable[Slot], cause: Cause, overran: AbstractSet[str] = frozenset(), *, now: float
) -> dict[str, Sentence]:
    """Judge the occupied slots of a dead worker's scoreboard; return a sentence per job id.

    :param overran: ids of the jobs that were past their deadline when the kill was decided.
    :param now: monotonic seconds, as the slots' times are.
    """
    slots = sorted(slots, key=lambda slot: slot.fence)  # the latest run of an id is the one judged
    # One that has failed and is not settled may have left what the process died of. Were it never
    # charged for that, it would take worker after worker along.
    alone = sum(slot.state is not SlotState.FINISHED_OK for slot in slots) == 1
    return {
        slot.job_id: Sentence(
            verdict=_verdict(slot, cause, overran, alone=alone),
            job=slot.job,
            fence=slot.fence,
            max_tries=slot.max_tries,
            retry_in=_sound(slot.retry_in),
            ran=_sound(now - slot.started),
            limit=_sound(slot.deadline - slot.started),
        )
        for slot in slots
    }


def _sound(seconds: float) -> float:
    """Return a duration; 0 for what is none: the user's code can write where it was read."""
    return seconds if 0 <= seconds <= LONGEST else 0.0


def _verdict(slot: Slot, cause: Cause, overran: AbstractSet[str], *, alone: bool) -> Verdict:
    if slot.state is SlotState.FINISHED_OK:
        return Verdict.FINISHED
    if cause is Cause.CRASH:
        return Verdict.CRASHED if alone else Verdict.SUSPECT
    is_culprit = slot.state is SlotState.RUNNING and slot.job_id in overran
    return (
        Verdict.TIMED_OUT
        if is_culprit and cause is Cause.KILLED_FOR_DEADLINE
        else Verdict.BYSTANDER
    )
