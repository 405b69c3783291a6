"""One run of a job: the value that passes from the reservation to the settlement."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Self

from queued.daemon.worker.meters import ClassMeters
from queued.drivers.base import Counts, Reservation, Settlement
from queued.errors import JobDefinitionError, UnknownJob
from queued.jobs import registry
from queued.jobs.header import Header
from queued.jobs.job import Job, has_failed_hook
from queued.jobs.limits import Limits
from queued.jobs.payload import decrypt, job_name, prepare
from queued.jobs.veil import Veil

if TYPE_CHECKING:
    from queued.daemon.worker.spans import RunSpan


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
    load: Callable[[bytes], Job]
    """Makes a fresh instance of a payload's body."""
    unveil: Callable[[bytes], tuple[bytes, Veil]] | None
    """Decrypts a body, and tells what hides what is in it; None: it is no secret."""
    hook: bool
    """The class has a ``failed()`` of its own."""
    meters: ClassMeters
    tries: int
    """How many a run may have cost that the master has to end."""
    fixed_delay: float | None
    """Seconds before each further run, where they are always the same."""

    @classmethod
    def make(cls, job: type[Job], header: Header, limits: Limits, meters: ClassMeters) -> Self:
        backoff = limits.backoff
        fixed = len(backoff.steps) == 1 and backoff.factor == 1.0 and not backoff.jitter
        return cls(
            name=job.__queued__.name,
            limits=limits,
            timeout=limits.timeout or 0.0,
            plain=not inspect.iscoroutinefunction(job.handle),
            load=prepare(job).load,
            unveil=unveiler(job, encrypted=header.encrypted),
            hook=has_failed_hook(job),
            meters=meters,
            tries=limits.tries_after_timeout,
            fixed_delay=limits.delay(1) if fixed else None,
        )

    def retry_in(self, counts: Counts) -> float:
        """Return the seconds before the run that follows one more charged try."""
        return self.limits.delay(counts.tries + 1) if self.fixed_delay is None else self.fixed_delay


def unveiler(job: type[Job], *, encrypted: bool) -> Callable[[bytes], tuple[bytes, Veil]] | None:
    """Return what reads the bodies of a class that are encrypted, or should have been."""
    if not (encrypted or job.encrypt):
        return None
    name, values = job.__queued__.name, prepare(job).values

    def unveil(body: bytes) -> tuple[bytes, Veil]:
        fields = decrypt(name, body) if encrypted else body
        return fields, Veil(fields, values)

    return unveil


def job_class(header: Header) -> type[Job]:
    """Return the class that a payload names, ready for decoding.

    :raises UnknownJob: it is not registered, or cannot be used.
    """
    cls = registry.lookup(header.job)
    try:
        prepare(cls)
    except JobDefinitionError as error:
        raise UnknownJob(f"{header.job} is registered, but cannot be used: {error}") from error
    return cls


class Run:
    """One reservation on its way through a worker. Times are monotonic seconds; 0: not yet."""

    __slots__ = (
        "cancelled",
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
        "span",
        "stack",
        "started",
        "task",
        "thread",
        "veil",
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
        self.thread = 0
        """The thread that runs its code, or did."""
        self.interrupt: Interrupt | None = None
        self.interrupted_at = 0.0
        self.cancelled = False
        """Its code was told of the interrupt: a thread never is."""
        self.settlement: Settlement | None = None
        """What becomes of the job; None: it still runs."""
        self.error: BaseException | None = None
        """What ``failed()`` gets, where the settlement fails the job."""
        self.stack = ""
        """Where everything stood when it was given up on."""
        self.span: RunSpan | None = None
        """Its span, if this worker traces."""
        self.veil: Veil | None = None
        """Hides what it holds in texts about it, if that is encrypted."""

    def names(self) -> dict[str, Any]:
        """Return the fields of a log line about this run that is not written within it."""
        reservation = self.reservation
        names = {
            "job_id": reservation.id,
            "job": self.plan.name if self.plan else job_name(reservation.payload),
            "attempt": reservation.counts.runs + 1,
        }
        return names if self.span is None else names | self.span.ids
