"""The janitor: leases renewed, due jobs promoted, outboxes emptied, the jobs of the dead settled.

Each operation is one verb of the driver and idempotent, so a janitor that dies between two is
finished by the next one, on this host or another. Run by the monitor, and by the standalone worker
of ``queued work``.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager, suppress

import structlog

from queued.daemon.duty import every, for_each
from queued.daemon.metrics import Bounded, Metrics
from queued.daemon.monitor.hook_deaths import HookDeaths
from queued.daemon.monitor.reclaim import Dossier, Loss, Reclaim, reclaim, reclaim_lost
from queued.daemon.reach import Reach
from queued.daemon.spec import OwnerName
from queued.daemon.verdict import Sentence, Verdict
from queued.drivers.base import MAX_BATCH, Ack, Driver, Fail, QueueStats, Reservation
from queued.errors import DriverUnavailable
from queued.jobs.outcome import Outcome

log = structlog.get_logger()

SAMPLE_EVERY = 1.0
REAP_EVERY = 3.0
"""Seconds; with the second look a lost host is noticed within 4 s of the end of its lease."""
RENEW_EVERY = 10.0
MAX_JOB_CLASSES = 200
"""Classes that are told apart in metrics: their names come out of payloads."""
SECOND_LOOK = 1.0
"""Seconds between finding an owner dead and taking its jobs. Whoever retired it may be about to
settle them by verdict, and after an outage owners that live renew first."""


class Janitor:
    """Looks after the queues of one back-end; one that is locked holds up no other.

    :param queues: those that are known from the start: their counters begin at 0 then, as alerts
        on a first increase need it.
    :param lease: seconds that an owner lives without being renewed.
    :param reach: shared with whoever makes other calls of the same driver in this process.
    :param reap_after: seconds that the back-end must have answered without a break before an owner
        counts as dead: after an outage every lease looks expired, until the owners have renewed.
    """

    def __init__(
        self,
        driver: Driver,
        metrics: Metrics,
        queues: Iterable[str] = (),
        *,
        reach: Reach | None = None,
        lease: float = 30.0,
        reap_after: float | None = None,
        second_look: float = SECOND_LOOK,
    ) -> None:
        self.driver = driver
        self.reach = reach or Reach(driver.name, metrics)
        self._lease = lease
        self._reap_after = lease if reap_after is None else reap_after
        self._second_look = second_look
        self._hook_deaths = HookDeaths()
        self._live_until: dict[str, dict[str, float]] = {}
        """By queue and owner, on the monotonic clock: as the last look at a running lease said."""
        self._reclaimed = metrics.counter("jobs_reclaimed_total", "queue", "reason")
        for queue in queues:
            for reason in (*Verdict, *Loss):
                self._reclaimed.series(queue, reason.value)
        self._attempts = metrics.counter("attempts_total", "queue", "job_class", "outcome")
        dropped = metrics.counter("dropped_labelsets_total").series()
        self._job_class = Bounded(MAX_JOB_CLASSES, dropped)
        self._job_errors = metrics.counter("job_errors_total", "queue", "error")

    # what lives

    async def sample(self, queues: Sequence[str]) -> Mapping[str, QueueStats]:
        """Return the state of every queue: one call.

        Every host's janitor asks for itself. A back-end shared by many hosts would be sampled once,
        under a short lease, and the sample shared: this is the place.
        """
        with self.reach.watch("stats"):
            return await self.driver.stats(queues)

    async def renew(self, owners: Mapping[str, Sequence[str]]) -> None:
        """Renew the leases of ``owners`` (by queue): one call for each queue."""

        async def renew(queue: str) -> int:
            with self._asking(queue, "renew"):
                retired = await self.driver.renew(queue, owners[queue], self._lease)
            if retired:
                log.warning("owners.retired", queue=queue, owners=retired)
            return 0

        await for_each([queue for queue, names in owners.items() if names], renew)

    async def promote(self, queues: Iterable[str]) -> int:
        """Move what is due from scheduled to ready; return how many jobs."""

        async def promote(queue: str) -> int:
            total, moved = 0, MAX_BATCH
            while moved == MAX_BATCH:
                with self._asking(queue, "promote"):
                    moved = await self.driver.promote(queue, MAX_BATCH)
                total += moved
            return total

        return await for_each(queues, promote)

    async def forward(self, queues: Iterable[str]) -> int:
        """Forward what chains and batches left in outboxes; return how many messages.

        Whoever put them there does so too, at once: this is for those that died in between.
        """

        async def forward(queue: str) -> int:
            with self.reach.watch("forward"):
                return await self.driver.forward(queue)

        return await for_each(queues, forward)

    # what is dead

    async def bury(
        self, queue: str, owner: str, sentences: Mapping[str, Sentence], dossier: Dossier
    ) -> int:
        """Settle all that a dead owner holds, each job by its verdict; return how many."""
        held = await self._retire(queue, owner)
        settled = await self._settle(
            queue, owner, [reclaim(job, sentences.get(job.id), dossier) for job in held]
        )
        for job_id, sentence in sentences.items():
            if self._hook_deaths.is_over(job_id, owner, sentence):
                with self.reach.watch("finish_hook"):
                    await self.driver.finish_hook(queue, job_id)
                error = f"its worker {dossier.ending}"
                log.error(
                    "hook.given_up", queue=queue, job_id=job_id, job=sentence.job, error=error
                )
        return settled

    async def bury_predecessors(self, queues: Iterable[str], install: str, boot: str) -> int:
        """Settle what the owners of this install's earlier boots hold; return how many jobs.

        They are dead for certain, since this boot has the install's lock: no lease is waited for.
        """

        async def bury(queue: str) -> int:
            total = 0
            with self.reach.watch("owners"):
                owners = await self.driver.owners(queue)
            for owner in owners:
                if owner.startswith(f"{install}-") and not owner.startswith(f"{install}-{boot}-"):
                    held = await self._retire(queue, owner)
                    total += await self._bury_lost(queue, owner, held, Loss.EARLIER_BOOT)
            return total

        return await for_each(queues, bury)

    async def reap(
        self, queues: Iterable[str], ours: str, living: Collection[str] | None = None
    ) -> int:
        """Settle what owners hold whose lease ran out: their host is lost. Return how many jobs.

        Does nothing until the back-end has answered for a whole lease.

        :param ours: owners whose name starts so are left alone: it is known how each of them ends.
        :param living: of those, only these are; None: all. Another one of ours was buried, and a
            back-end that failed over has forgotten it.
        """
        dead: list[tuple[str, str]] = []

        async def look(queue: str) -> int:
            expired = await self._expired(queue)
            gone = [
                (queue, owner)
                for owner in expired
                if not owner.startswith(ours) or (living is not None and owner not in living)
            ]
            dead.extend(gone)
            return len(gone)

        async def bury(one: tuple[str, str]) -> int:
            queue, owner = one
            held = await self._retire(queue, owner, only_expired=True)
            return await self._bury_lost(queue, owner, held, Loss.LEASE_EXPIRED)

        unknown: Exception | None = None
        try:
            await for_each(queues, look)
        except Exception as error:  # noqa: BLE001 - the jobs of other queues do not wait for that one
            unknown = error  # of an outage too, whose end ``steady`` waits for
        settled = 0
        if dead and self.reach.steady >= self._reap_after:
            await asyncio.sleep(self._second_look)
            settled = await for_each(dead, bury)
        if unknown is not None:
            raise unknown
        return settled

    async def _expired(self, queue: str) -> list[str]:
        """Return the owners whose leases have run out by the back-end's clock and by ours.

        The back-end's may be set ahead, and every lease would seem to have run out at once.
        """
        now = time.monotonic()
        with self._asking(queue, "owners"):
            owners = await self.driver.owners(queue)
        seen = self._live_until.get(queue, {})
        self._live_until[queue] = {
            owner: now + min(left, self._lease)
            if left > 0
            else seen.get(owner, now + self._reap_after)
            for owner, left in owners.items()
        }
        until = self._live_until[queue]
        return [owner for owner, left in owners.items() if left < 0 and until[owner] <= now]

    @contextmanager
    def _asking(self, queue: str, operation: str) -> Iterator[None]:
        """Watch a call; where a queue cannot be asked, its owners cannot renew their leases either.

        When it is back they get a lease's time.
        """
        try:
            with self.reach.watch(operation):
                yield
        except DriverUnavailable:
            self._live_until.pop(queue, None)
            raise

    async def _bury_lost(
        self, queue: str, owner: str, held: Sequence[Reservation], loss: Loss
    ) -> int:
        dossier = Dossier(worker=_worker(owner), at=time.time())
        return await self._settle(queue, owner, [reclaim_lost(job, loss, dossier) for job in held])

    async def _retire(
        self, queue: str, owner: str, *, only_expired: bool = False
    ) -> list[Reservation]:
        with self.reach.watch("retire"):
            return await self.driver.retire(queue, owner, only_expired=only_expired)

    async def _settle(self, queue: str, owner: str, reclaims: Sequence[Reclaim]) -> int:
        settled, to_forward = 0, False
        for start in range(0, len(reclaims), MAX_BATCH):
            batch = reclaims[start : start + MAX_BATCH]
            with self.reach.watch("settle"):
                answer = await self.driver.exchange(queue, owner, [one.settlement for one in batch])
            to_forward = answer.outbox
            lost = set(answer.lost)  # another janitor was faster
            done = [one for one in batch if one.settlement.id not in lost]
            for one in done:
                self._count(queue, one)
                _say(queue, one)
            settled += len(done)
        if settled:
            reasons = Counter(one.reason for one in reclaims)
            log.info("jobs.reclaimed", queue=queue, owner=owner, jobs=settled, **reasons)
        if to_forward:
            with suppress(DriverUnavailable):  # the next turn tries again; these are settled
                await self.forward([queue])
        return settled

    def _count(self, queue: str, one: Reclaim) -> None:
        self._reclaimed.series(queue, one.reason).value += 1
        if one.outcome is not None:
            self._attempts.series(queue, self._job_class(one.job), one.outcome.value).value += 1
        if one.error is not None:
            self._job_errors.series(queue, one.error).value += 1

    # at its own pace

    async def run(self, queues: Callable[[], Sequence[str]], ours: str) -> None:
        """Promote, forward and reap until cancelled: what a standalone worker needs besides.

        :param queues: asked at each turn, so that a reload counts.
        """

        async def promote() -> None:
            await self.promote(queues())
            await self.forward(queues())

        async def reap() -> None:
            await self.reap(queues(), ours)

        duties: list[Awaitable[None]] = [every(SAMPLE_EVERY, promote), every(REAP_EVERY, reap)]
        await asyncio.gather(*duties)


ENDINGS = {
    Outcome.FAILED: "job.failed",
    Outcome.TIMED_OUT: "job.timed_out",
    Outcome.LOST: "job.lost",
}


def _say(queue: str, one: Reclaim) -> None:
    """Log a run that did not end well, as its worker would have, had it lived."""
    event = ENDINGS.get(one.outcome) if one.outcome else None
    if event is None or isinstance(one.settlement, Ack):
        return
    final = isinstance(one.settlement, Fail)
    note = json.loads(one.settlement.note)
    short = one.job.rpartition(".")[2]
    emit = log.error if final else log.warning
    emit(
        event,
        final=final,
        queue=queue,
        job_id=one.settlement.id,
        job=one.job,
        attempt=note["run"],
        worker=note["worker"],
        error=note["error"],
        message=f"{short} {'failed' if final else 'runs again'}: {note['error']}",
    )


def _worker(owner: str) -> str:
    try:
        return OwnerName.parse(owner).worker
    except ValueError:  # another program's owner
        return owner
