"""One run of a job: the value that passes from the reservation to the settlement."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum

from queued.daemon.meters import ClassMeters
from queued.drivers.base import Reservation, Settlement
from queued.jobs.job import Job
from queued.jobs.limits import Limits


class Interrupt(Enum):
    """Why we end a run that does not end by itself."""

    TIMEOUT = "timeout"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class Plan:
    """What holds for every run of one job class on this worker."""

    name: str
    limits: Limits
    timeout: float
    """Seconds; 0: none."""
    plain: bool
    """``handle`` is a plain function: it runs in a thread."""
    hook: bool
    """The class has a ``failed()`` of its own."""
    meters: ClassMeters


class Run:
    """One reservation on its way through a worker. Times are monotonic seconds; 0: not yet."""

    __slots__ = (
        "deadline",
        "error",
        "in_thread",
        "interrupt",
        "interrupted_at",
        "job",
        "plan",
        "reservation",
        "settlement",
        "slot",
        "started",
        "task",
    )

    def __init__(self, reservation: Reservation) -> None:
        self.reservation = reservation
        self.slot = -1
        """Its slot on the scoreboard; -1: it was never begun."""
        self.task: asyncio.Task[None] | None = None
        self.job: Job | None = None
        self.plan: Plan | None = None
        self.started = 0.0
        self.deadline = 0.0
        self.in_thread = False
        self.interrupt: Interrupt | None = None
        self.interrupted_at = 0.0
        self.settlement: Settlement | None = None
        """What becomes of the job; None: it still runs."""
        self.error: BaseException | None = None
        """What ``failed()`` gets, where the settlement fails the job."""
