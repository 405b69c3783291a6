"""The state table as plainly as it can be said: what any driver must agree with.

It knows no clock: a scheduled job is either far away or made due by the test that asks.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from queued.drivers.base import (
    NO_COUNTS,
    SUSPECT_FROM,
    Ack,
    Charge,
    Counts,
    Enqueued,
    Fail,
    Lane,
    NewJob,
    QueueStats,
    Release,
    Reservation,
    Retry,
    Settlement,
    State,
)


@dataclass
class Expected:
    """What must be known of a job that is somewhere in the back-end."""

    payload: bytes
    state: State = State.READY
    counts: Counts = NO_COUNTS
    notes: list[bytes] = field(default_factory=list)
    owner: str | None = None
    fence: int = 0
    record: bytes = b""
    hook: bool = False
    unique: str | None = None
    """What it holds until it is done; a failed job holds nothing."""


@dataclass
class Model:
    """One queue."""

    jobs: dict[str, Expected] = field(default_factory=dict)
    head: list[str] = field(default_factory=list)
    """Released: before all of ``tail``. Who comes first among them is left to the driver."""
    tail: list[str] = field(default_factory=list)
    solo: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    """The oldest first; of those failed in one exchange the order is left to the driver."""
    fence: int = 0
    """The highest that was seen."""
    enqueued: int = 0
    refused: int = 0
    done: int = 0
    removed: int = 0
    """Cancelled, purged, forgotten."""
    paused: bool = False

    def push(self, new: NewJob) -> Enqueued:
        if new.id in self.jobs:
            return False
        name = new.unique.name if new.unique else None
        if (holder := self.holder(name)) is not None:
            self.refused += 1
            return holder
        self.jobs[new.id] = Expected(new.payload, unique=name)
        self.enqueued += 1
        if new.delay:
            self.jobs[new.id].state = State.SCHEDULED
        else:
            self.to_tail(new.id)
        return True

    def holder(self, name: str | None) -> str | None:
        for job_id, job in self.jobs.items():
            if name and job.unique == name and job.state is not State.FAILED:
                return job_id
        return None

    def to_tail(self, job_id: str) -> None:
        job = self.jobs[job_id]
        job.state, job.owner = State.READY, None
        suspect = job.counts.suspicion >= SUSPECT_FROM
        (self.solo if suspect else self.tail).append(job_id)

    def reserved(self, owner: str, lane: Lane, want: int, got: list[Reservation]) -> None:
        """Check what a driver reserved, and take it over."""
        want = 0 if self.paused else want
        if lane is Lane.SOLO:
            assert len(got) == min(want, len(self.solo))
            assert {job.id for job in got} <= set(self.solo)
        else:
            assert len(got) == min(want, len(self.head) + len(self.tail))
            first = {job.id for job in got[: len(self.head)]}
            assert first <= set(self.head)
            rest = [job.id for job in got[len(self.head) :]]
            assert rest == self.tail[: len(rest)]
        for job in got:
            expected = self.jobs[job.id]
            assert job.fence > self.fence
            assert (job.payload, job.counts) == (expected.payload, expected.counts)
            assert job.history.split() == expected.notes
            self.fence = job.fence
            expected.state, expected.owner, expected.fence = State.RESERVED, owner, job.fence
            self.leave_ready(job.id)

    def leave_ready(self, job_id: str) -> None:
        for lane in (self.head, self.tail, self.solo):
            if job_id in lane:
                lane.remove(job_id)

    def held(self, owner: str) -> list[str]:
        return [name for name, job in self.jobs.items() if job.owner == owner]

    def settle(self, owner: str, settlement: Settlement) -> bool:
        job_id = settlement.id
        job = self.jobs.get(job_id)
        if job is None or (job.owner, job.fence) != (owner, settlement.fence):
            return False
        job.owner = None
        if isinstance(settlement, Ack):
            del self.jobs[job_id]
            self.done += 1
            return True
        self._charge(job, settlement.charge, settlement.note)
        match settlement:
            case Retry(delay=0):
                self.to_tail(job_id)
            case Retry():
                job.state = State.SCHEDULED
            case Release():
                job.state = State.READY
                suspect = job.counts.suspicion >= SUSPECT_FROM
                (self.solo if suspect else self.head).append(job_id)
            case Fail(record=record, hook=hook):
                job.state, job.record, job.hook = State.FAILED, record, hook is not None
                self.failed.append(job_id)
        return True

    @staticmethod
    def _charge(job: Expected, charge: Charge, note: bytes) -> None:
        job.counts = job.counts.charged(charge)
        if note:
            job.notes.append(note)

    def waiting(self) -> list[str]:
        waits = {State.READY, State.SCHEDULED}
        return [name for name, job in self.jobs.items() if job.state in waits]

    def cancel(self, job_id: str) -> State | None:
        job = self.jobs.get(job_id)
        if job is None:
            return None
        if job_id in self.waiting():
            self.remove(job_id)
        return job.state

    def remove(self, job_id: str) -> None:
        self.leave_ready(job_id)
        if job_id in self.failed:
            self.failed.remove(job_id)
        del self.jobs[job_id]
        self.removed += 1

    def requeue(self, job_id: str) -> bool:
        if job_id not in self.failed:
            return False
        job = self.jobs[job_id]
        if self.holder(job.unique) is not None:
            return False
        self.failed.remove(job_id)
        job.counts, job.record, job.hook = NO_COUNTS, b"", False
        self.to_tail(job_id)
        return True

    def forget(self, job_id: str) -> bool:
        if job_id not in self.failed:
            return False
        self.remove(job_id)
        return True

    def check_stats(self, stats: QueueStats) -> None:
        states = [job.state for job in self.jobs.values()]
        assert stats.ready == states.count(State.READY)
        assert stats.scheduled == states.count(State.SCHEDULED)
        assert stats.reserved == states.count(State.RESERVED)
        assert stats.failed == states.count(State.FAILED)
        assert stats.suspects == len(self.solo)
        assert (stats.paused is not None) == self.paused
        assert stats.enqueued_total == self.enqueued
        assert stats.refused_total == self.refused
        # nothing is ever lost: what was enqueued is done, was removed by an operator, or is here
        here = stats.ready + stats.scheduled + stats.reserved + stats.failed
        assert self.enqueued == self.done + self.removed + here
