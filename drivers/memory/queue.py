"""A queue of the memory driver: its jobs by state, and the moves between the states.

Nothing here awaits or locks: the driver makes each verb one critical section.
"""

from __future__ import annotations

from bisect import bisect, insort
from collections import deque
from collections.abc import Sequence

from queued.drivers.base import (
    NO_COUNTS,
    Ack,
    Charge,
    Enqueued,
    Fail,
    FailedJob,
    Lane,
    NewJob,
    Paused,
    QueueStats,
    RateLimit,
    Release,
    Retry,
    Settlement,
    State,
    Unique,
)
from queued.drivers.brakes import whole
from queued.drivers.memory.batches import Batches
from queued.drivers.memory.bell import Bell
from queued.drivers.memory.records import Job, Lock, Owner
from queued.drivers.sequel import End

HOUR = 3600.0


class StoredQueue:
    """One queue: each of its ``jobs`` is in ``ready``, ``scheduled``, ``failed`` or held."""

    def __init__(self, name: str, batches: Batches) -> None:
        self.name = name
        self.batches = batches
        self.jobs: dict[str, Job] = {}
        self.ready: dict[Lane, deque[Job]] = {lane: deque() for lane in Lane}
        self.scheduled: list[Job] = []  # the earliest first
        self.failed: dict[str, Job] = {}  # the oldest first
        self.owners: dict[str, Owner] = {}
        self.fence = 0
        self.enqueued_total = 0
        self.refused_total = 0
        self.locks: dict[str, Lock] = {}  # by the name that a job holds
        self.failures: deque[float] = deque()
        self.bell = Bell()
        self.ticks: dict[str, int] = {}
        self.paused: Paused | None = None
        self.opens_at: float | None = None
        self.every = 0.0

    def to_tail(self, job: Job, ready_at: float) -> None:
        job.state, job.ready_at = State.READY, ready_at
        self.ready[job.lane].append(job)

    def to_schedule(self, job: Job, due_at: float) -> None:
        job.state, job.due_at = State.SCHEDULED, due_at
        insort(self.scheduled, job, key=_due_at)

    def enqueue(self, new: NewJob, now: float) -> Enqueued:
        if new.id in self.jobs:
            return False
        if new.unique is not None:
            if (holder := self.holder(new.unique.name, now)) is not None:
                self.refused_total += 1
                return holder
            self.take(new.id, new.unique, now)
        job = Job(new.id, new.payload, now, sequel=new.sequel, unique=new.unique)
        self.jobs[new.id] = job
        self.enqueued_total += 1
        if new.delay > 0:
            self.to_schedule(job, now + new.delay)
        else:
            self.to_tail(job, now)
        return True

    def holder(self, name: str, now: float) -> str | None:
        """Return the id of the job that holds a name."""
        lock = self.locks.get(name)
        return None if lock is None or (lock.until is not None and lock.until <= now) else lock.id

    def take(self, job_id: str, unique: Unique, now: float) -> None:
        until = None if unique.seconds is None else now + unique.seconds
        self.locks[unique.name] = Lock(job_id, until)

    def let_go(self, job: Job) -> None:
        """End what a job holds until it is done."""
        if job.unique is not None and self.locks.get(job.unique.name) == Lock(job.id, None):
            del self.locks[job.unique.name]

    def requeue(self, job_id: str, now: float) -> bool:
        job = self.failed.get(job_id)
        if job is None:
            return False
        if job.unique is not None and job.unique.seconds is None:
            if self.holder(job.unique.name, now) is not None:
                return False
            self.take(job_id, job.unique, now)
        del self.failed[job_id]
        job.counts, job.hook_at = NO_COUNTS, None
        self.to_tail(job, now)
        return True

    def restore(self, failed: FailedJob, now: float) -> bool:
        if failed.id in self.jobs:
            return False
        job = self.jobs[failed.id] = Job(failed.id, failed.payload, failed.enqueued_at)
        job.state, job.counts, job.history = State.FAILED, failed.counts, failed.history
        job.record, job.failed_at = failed.record, failed.failed_at
        job.hook_at = now if failed.hook_pending else None
        job.unique = None if failed.unique is None else Unique(failed.unique)
        job.sequel = failed.sequel
        self.failed[job.id] = job
        self.failed = dict(sorted(self.failed.items(), key=_failed_at))
        insort(self.failures, job.failed_at)
        self.enqueued_total += 1
        return True

    def promote(self, limit: int, now: float) -> int:
        due = min(limit, bisect(self.scheduled, now, key=_due_at))
        for job in self.scheduled[:due]:
            self.to_tail(job, job.due_at)
        del self.scheduled[:due]
        return due

    def settle(self, owner: str, settlements: Sequence[Settlement], now: float) -> list[str]:
        """Apply what names a reservation that ``owner`` holds; return the ids of the others."""
        lost: list[str] = []
        released: list[Job] = []
        not_run = 0
        for settlement in settlements:
            job = self.jobs.get(settlement.id)
            if job is None or not job.held_by(owner, settlement.fence):
                lost.append(settlement.id)
                continue
            del self.owners[owner].held[job.id]
            match settlement:
                case Ack():
                    self.let_go(job)
                    del self.jobs[job.id]
                    self.batches.ended(job.sequel, End.DONE, now)
                case Retry(delay=delay, charge=charge, note=note):
                    job.ran(charge, note)
                    if delay > 0:
                        self.to_schedule(job, now + delay)
                    else:
                        self.to_tail(job, now)
                case Release(charge=charge, note=note):
                    job.ran(charge, note)
                    job.state = State.READY
                    released.append(job)
                    not_run += charge is Charge.NONE
                case Fail(charge=charge, record=record, note=note, hook=hook):
                    job.ran(charge, note)
                    job.state, job.record, job.failed_at = State.FAILED, record, now
                    job.hook_at = None if hook is None else now + hook
                    self.let_go(job)
                    self.failed[job.id] = job
                    self.failures.append(now)
                    self.batches.ended(job.sequel, End.FAILED, now)
        for job in reversed(released):  # so that the first one named is the first to run
            self.ready[job.lane].appendleft(job)
        if self.opens_at is not None:
            self.opens_at -= not_run * self.every
        return lost

    def reserve(
        self,
        owner: str,
        lane: Lane,
        want: int,
        nonce: int,
        now: float,
        *,
        limit: RateLimit | None,
    ) -> list[Job]:
        """Give ``owner`` up to ``want`` jobs, or once more those that it got for this nonce."""
        holder = self.owners[owner]
        if nonce and nonce < holder.nonce:
            return []  # a late copy of a call that was answered: nobody reads this answer
        if nonce and nonce == holder.nonce and holder.batch:
            return [self.jobs[i] for i, fence in holder.batch if self._holds(owner, i, fence)]
        jobs = self._take(lane, want, now, limit)
        for job in jobs:
            self.fence += 1
            job.state, job.owner, job.fence = State.RESERVED, owner, self.fence
            job.reserved_at = now
            holder.held[job.id] = job
        if nonce:
            holder.nonce, holder.batch = nonce, [(job.id, job.fence) for job in jobs]
        return jobs

    def _take(self, lane: Lane, want: int, now: float, limit: RateLimit | None) -> list[Job]:
        """Remove the first ready jobs: as many as are wanted and nothing holds back."""
        ready = self.ready[lane]
        if self.paused:
            return []
        if limit is None:
            return [ready.popleft() for _ in range(min(want, len(ready)))]
        tokens = limit.tokens(self.opens_at, now)
        jobs = [ready.popleft() for _ in range(min(want, len(ready), whole(tokens)))]
        if jobs or limit.is_debt(self.opens_at, now):
            self.opens_at, self.every = limit.opens_at(tokens - len(jobs), now), limit.every
        return jobs

    def _holds(self, owner: str, job_id: str, fence: int) -> bool:
        return job_id in self.jobs and self.jobs[job_id].held_by(owner, fence)

    def hooks_due(self, now: float) -> list[Job]:
        failed = self.failed.values()
        return [job for job in failed if job.hook_at is not None and job.hook_at <= now]

    def next_due(self, now: float) -> float | None:
        """Return the seconds until a scheduled job is due."""
        if not self.scheduled:
            return None
        return max(self.scheduled[0].due_at - now, 0.0)

    def ring(self) -> None:
        if not self.paused:
            self.bell.ring()

    def ring_if_ready(self) -> None:
        if self.ready[Lane.NORMAL]:
            self.ring()

    def waiting(self) -> list[Job]:
        return [*self.ready[Lane.NORMAL], *self.ready[Lane.SOLO], *self.scheduled]

    def remove_waiting(self, jobs: Sequence[Job], now: float) -> None:
        gone = {job.id for job in jobs}
        for lane, ready in self.ready.items():
            self.ready[lane] = deque(job for job in ready if job.id not in gone)
        self.scheduled = [job for job in self.scheduled if job.id not in gone]
        for job in jobs:
            self.let_go(job)
            self.remove(job, now)

    def remove(self, job: Job, now: float) -> None:
        """Remove a job that is in no state any more."""
        del self.jobs[job.id]
        self.batches.ended(job.sequel, End.GONE, now)

    def stats(self, now: float) -> QueueStats:
        ready = [*self.ready[Lane.NORMAL], *self.ready[Lane.SOLO]]
        reserved = [job for owner in self.owners.values() for job in owner.held.values()]
        while self.failures and self.failures[0] < now - HOUR:
            self.failures.popleft()
        return QueueStats(
            ready=len(ready),
            scheduled=len(self.scheduled),
            reserved=len(reserved),
            failed=len(self.failed),
            suspects=len(self.ready[Lane.SOLO]),
            enqueued_total=self.enqueued_total,
            failed_last_hour=len(self.failures),
            refused_total=self.refused_total,
            oldest_ready_age_seconds=max((now - job.ready_at for job in ready), default=0.0),
            oldest_reserved_age_seconds=max(
                (now - job.reserved_at for job in reserved), default=0.0
            ),
            limited_seconds=max((self.opens_at or 0.0) - now, 0.0),
            paused=self.paused,
        )


def _due_at(job: Job) -> float:
    return job.due_at


def _failed_at(item: tuple[str, Job]) -> float:
    return item[1].failed_at
