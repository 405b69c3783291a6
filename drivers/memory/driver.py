"""The verbs of the memory driver: each is one critical section over what the store keeps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from queued.drivers.base import (
    LOOK_AHEAD,
    MAX_BATCH,
    Enqueued,
    Exchange,
    FailedJob,
    JobInfo,
    Lane,
    NewJob,
    Paused,
    QueueStats,
    RateLimit,
    Reservation,
    Settlement,
    State,
    Ticks,
)
from queued.drivers.memory.queue import StoredQueue
from queued.drivers.memory.records import Owner
from queued.drivers.memory.store import Store
from queued.drivers.sequel import Batch, NewBatch
from queued.errors import OwnerLost

_shared: dict[str, Store] = {}


class MemoryDriver:
    """A ``Driver`` of the stores in this process.

    :param store: where jobs are kept, instead of the one that the URL names.
    """

    name = "memory"

    def __init__(self, url: str, store: Store | None = None) -> None:
        _, _, name = url.partition("://")
        shared = _shared.setdefault(name, Store()) if name and store is None else None
        self._store = store or shared or Store()

    async def open(self) -> None:
        """Nothing is to be done."""

    async def close(self) -> None:
        """Nothing is to be done: a shared store stays for the process's other drivers."""

    async def ping(self) -> None:
        """Memory always answers."""

    def _queue(self, name: str) -> StoredQueue:
        return self._store.queue(name)

    # producers
    async def enqueue(self, queue: str, jobs: Sequence[NewJob]) -> list[Enqueued]:
        return self.put(queue, jobs)

    def put(self, queue: str, jobs: Sequence[NewJob]) -> list[Enqueued]:
        """Do what ``enqueue`` does, at once."""
        with self._store.lock:
            target, now = self._queue(queue), self._store.now()
            enqueued = [target.enqueue(job, now) for job in jobs]
            if True in enqueued:
                target.ring()
            return enqueued

    async def enqueue_batch(self, queue: str, batch: NewBatch) -> bool:
        with self._store.lock:
            return self._store.batches.create(queue, batch, self._store.now())

    # workers
    async def exchange(
        self,
        queue: str,
        owner: str,
        settlements: Sequence[Settlement] = (),
        *,
        want: int = 0,
        nonce: int = 0,
        lease: float = 30.0,
        lane: Lane = Lane.NORMAL,
        limit: RateLimit | None = None,
    ) -> Exchange:
        with self._store.lock:
            source, now = self._queue(queue), self._store.now()
            lost = source.settle(owner, settlements, now)
            jobs: list[Reservation] = []
            held_for = math.inf if source.paused else None
            if want > 0:
                if source.owners.setdefault(owner, Owner(now + lease)).retired:
                    source.ring_if_ready()
                    raise OwnerLost(f"{owner} was retired: its jobs went to other workers")
                if not source.paused:
                    source.promote(want, now)
                reserved = source.reserve(owner, lane, want, nonce, now, limit=limit)
                jobs = [job.reservation() for job in reserved]
                if limit and not source.paused:
                    held_for = limit.wait(limit.tokens(source.opens_at, now))
            if jobs or held_for is None:  # else the next one would hear the same
                source.ring_if_ready()
            return Exchange(
                jobs,
                lost,
                source.next_due(now),
                hooks_due=bool(source.hooks_due(now)),
                suspects=bool(source.ready[Lane.SOLO]) and not source.paused,
                held_for=held_for,
            )

    async def listen(
        self,
        queue: str,
        owner: str,
        *,
        seconds: float,
        want: int,
        nonce: int,
        lease: float = 30.0,
        lane: Lane = Lane.NORMAL,
        limit: RateLimit | None = None,
    ) -> Exchange:
        with self._store.lock:
            bell = self._queue(queue).bell
        await bell.wait(seconds)
        return await self.exchange(
            queue, owner, want=want, nonce=nonce, lease=lease, lane=lane, limit=limit
        )

    async def renew(self, queue: str, owners: Sequence[str], lease: float) -> list[str]:
        with self._store.lock:
            known, until = self._queue(queue).owners, self._store.now() + lease
            for name in owners:
                known.setdefault(name, Owner(until)).lease_until = until
            return [name for name in owners if known[name].retired]

    async def held(self, queue: str, owner: str) -> dict[str, int]:
        with self._store.lock:
            holder = self._queue(queue).owners.get(owner)
            held = holder.held.values() if holder else ()
            return {job.id: job.reservation().fence for job in held}

    # janitors
    async def retire(
        self, queue: str, owner: str, *, only_expired: bool = False
    ) -> list[Reservation]:
        with self._store.lock:
            now = self._store.now()
            holder = self._queue(queue).owners.setdefault(owner, Owner(now))
            if only_expired and not holder.retired and holder.lease_until > now:
                return []
            holder.retired = True
            return [job.reservation() for job in holder.held.values()]

    async def owners(self, queue: str) -> dict[str, float]:
        with self._store.lock:
            now = self._store.now()
            return {
                name: holder.seconds_left(now)
                for name, holder in self._queue(queue).owners.items()
                if holder.held or holder.seconds_left(now) > 0
            }

    async def promote(self, queue: str, limit: int = MAX_BATCH) -> int:
        with self._store.lock:
            source = self._queue(queue)
            promoted = source.promote(limit, self._store.now())
            if promoted:
                source.ring()
            return promoted

    async def forward(self, queue: str) -> int:  # noqa: ARG002 - see Batches
        return 0

    # schedules
    async def ticks(self, queue: str) -> Ticks:
        with self._store.lock:
            return Ticks(self._store.now(), dict(self._queue(queue).ticks))

    async def tick(
        self, queue: str, schedule: str, last: int | None, tick: int, job: NewJob | None
    ) -> bool:
        with self._store.lock:
            target = self._queue(queue)
            if target.ticks.get(schedule) != last:
                return False
            target.ticks[schedule] = tick
            if job is not None and target.enqueue(job._replace(delay=0.0), self._store.now()):
                target.ring()
            return True

    # failed() hooks
    async def claim_hooks(self, queue: str, limit: int, visible_after: float) -> list[FailedJob]:
        with self._store.lock:
            now = self._store.now()
            due = self._queue(queue).hooks_due(now)[:limit]
            for job in due:
                job.hook_at = now + visible_after
            return [job.as_failed(queue) for job in due]

    async def finish_hook(self, queue: str, job_id: str, record: bytes = b"") -> None:
        with self._store.lock:
            job = self._queue(queue).failed.get(job_id)
            if job is not None and record in {b"", job.record}:
                job.hook_at = None

    # operators
    async def queues(self) -> list[str]:
        with self._store.lock:
            stored = self._store.queues.values()
            return sorted(queue.name for queue in stored if queue.enqueued_total)

    async def stats(self, queues: Sequence[str]) -> Mapping[str, QueueStats]:
        with self._store.lock:
            now = self._store.now()
            return {name: self._queue(name).stats(now) for name in queues}

    async def find(self, job_id: str, queue: str | None = None) -> JobInfo | None:
        with self._store.lock:
            for name in [queue] if queue is not None else sorted(self._store.queues):
                if job := self._queue(name).jobs.get(job_id):
                    return job.info(name)
            return None

    async def batch(self, batch_id: str, queue: str | None = None) -> Batch | None:
        with self._store.lock:
            return self._store.batches.find(batch_id, queue)

    async def ahead(self, queue: str, job_id: str, limit: int = LOOK_AHEAD) -> int | None:
        with self._store.lock:
            source = self._queue(queue)
            job = source.jobs.get(job_id)
            if job is None or job.state is not State.READY:
                return None
            place = source.ready[job.lane].index(job)
            return place if place < limit else None

    async def cancel(self, queue: str, job_id: str) -> State | None:
        with self._store.lock:
            source = self._queue(queue)
            job = source.jobs.get(job_id)
            if job is None:
                return None
            if job.state in {State.READY, State.SCHEDULED}:
                source.remove_waiting([job], self._store.now())
            return job.state

    async def purge(self, queue: str) -> int:
        with self._store.lock:
            source = self._queue(queue)
            waiting = source.waiting()
            source.remove_waiting(waiting, self._store.now())
            return len(waiting)

    async def pause(self, queue: str, by: str = "", reason: str = "") -> bool:
        with self._store.lock:
            source = self._queue(queue)
            before = source.paused
            source.paused = Paused(before.since if before else self._store.now(), by, reason)
            return before is None

    async def resume(self, queue: str) -> bool:
        with self._store.lock:
            source = self._queue(queue)
            before, source.paused = source.paused, None
            source.ring()
            return before is not None

    async def failed(self, queue: str, limit: int = 50, offset: int = 0) -> list[FailedJob]:
        with self._store.lock:
            newest_first = [*reversed(self._queue(queue).failed.values())]
            return [job.as_failed(queue) for job in newest_first[offset : offset + limit]]

    async def requeue(self, queue: str, job_ids: Sequence[str]) -> list[bool]:
        with self._store.lock:
            source, now = self._queue(queue), self._store.now()
            answer = [source.requeue(job_id, now) for job_id in job_ids]
            source.ring_if_ready()
            return answer

    async def prune(self, queue: str, older_than: float, limit: int = MAX_BATCH) -> int:
        with self._store.lock:
            source, now = self._queue(queue), self._store.now()
            old = [
                job
                for job in source.failed.values()
                if job.failed_at < now - older_than and job.hook_at is None
            ]
            for job in old[:limit]:
                del source.failed[job.id]
                source.remove(job, now)
            return len(old[:limit])

    async def forget(self, queue: str, job_ids: Sequence[str]) -> list[bool]:
        with self._store.lock:
            source = self._queue(queue)
            found = [source.failed.pop(job_id, None) for job_id in job_ids]
            for job in found:
                if job is not None:
                    source.remove(job, self._store.now())
            return [job is not None for job in found]

    async def restore(self, queue: str, failed: Sequence[FailedJob]) -> list[bool]:
        with self._store.lock:
            target, now = self._queue(queue), self._store.now()
            return [target.restore(job, now) for job in failed]
