"""What the memory driver keeps of a job, an owner and a name that a job holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from queued.drivers.base import (
    NO_COUNTS,
    SUSPECT_FROM,
    Charge,
    Counts,
    FailedJob,
    JobInfo,
    Lane,
    Reservation,
    State,
    Unique,
)

HISTORY_LIMIT = 65_536
"""Bytes of notes that a job keeps: a job that is handed back for ever must not grow for ever."""


@dataclass(slots=True, eq=False)
class Job:
    """A job's whole record. What belongs to another state than its own is left as it was."""

    id: str
    payload: bytes
    enqueued_at: float
    sequel: bytes = b""
    state: State = State.READY
    counts: Counts = NO_COUNTS
    history: bytes = b""
    ready_at: float = 0.0
    due_at: float = 0.0
    owner: str = ""
    fence: int = 0
    reserved_at: float = 0.0
    record: bytes = b""
    failed_at: float = 0.0
    hook_at: float | None = None
    unique: Unique | None = None

    @property
    def lane(self) -> Lane:
        return Lane.SOLO if self.counts.suspicion >= SUSPECT_FROM else Lane.NORMAL

    def held_by(self, owner: str, fence: int) -> bool:
        return self.state is State.RESERVED and (self.owner, self.fence) == (owner, fence)

    def ran(self, charge: Charge, note: bytes) -> None:
        self.counts = self.counts.charged(charge)
        if note:
            self.history += note + b"\n"
        while len(self.history) > HISTORY_LIMIT:
            _, _, self.history = self.history.partition(b"\n")  # the oldest note goes

    def reservation(self) -> Reservation:
        return Reservation(
            self.id,
            self.payload,
            self.fence,
            self.enqueued_at,
            self.ready_at,
            self.reserved_at,
            self.counts,
            self.history,
        )

    def as_failed(self, queue: str) -> FailedJob:
        return FailedJob(
            self.id,
            queue,
            self.payload,
            self.record,
            self.failed_at,
            self.enqueued_at,
            self.counts,
            self.history,
            hook_pending=self.hook_at is not None,
            unique=self.unique.name if self.unique and self.unique.seconds is None else None,
            sequel=self.sequel,
        )

    def info(self, queue: str) -> JobInfo:
        reserved = self.state is State.RESERVED
        return JobInfo(
            self.id,
            queue,
            self.state,
            self.payload,
            self.enqueued_at,
            self.counts,
            self.history,
            ready_at=self.ready_at if reserved or self.state is State.READY else None,
            due_at=self.due_at if self.state is State.SCHEDULED else None,
            owner=self.owner if reserved else None,
            reserved_at=self.reserved_at if reserved else None,
            failed=self.as_failed(queue) if self.state is State.FAILED else None,
            unique=self.unique.name if self.unique else None,
            sequel=self.sequel,
        )


@dataclass(slots=True)
class Owner:
    lease_until: float
    retired: bool = False
    held: dict[str, Job] = field(default_factory=dict)
    nonce: int = 0
    batch: list[tuple[str, int]] = field(default_factory=list)
    """What the exchange of ``nonce`` reserved: ids and fences."""

    def seconds_left(self, now: float) -> float:
        left = self.lease_until - now
        return min(left, -0.001) if self.retired else left


class Lock(NamedTuple):
    """Who holds a name, and until when; None: until its job is done."""

    id: str
    until: float | None
