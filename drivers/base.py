"""What a back-end must do: the ``Driver`` protocol; the values that cross it are in ``values``.

Rules that hold for every driver (the contract suite in ``tests/contract`` checks each):

* One verb is one Lua script or one SQL transaction.
* Payloads, notes and records are opaque bytes, stored and returned as they came.
* Times are the back-end's own clock, in seconds since the epoch; delays are seconds from its now.
* Settling names id, owner and fence. What does not match changes nothing and is reported as lost.
* An empty answer means empty; a back-end that cannot answer raises ``DriverUnavailable``.
* Order is first in, first out per queue and lane; ``release`` puts a job back at the head.
* The verb that ends a job carries out its sequel: see ``queued.drivers.sequel``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from queued.drivers.brakes import Paused, RateLimit
from queued.drivers.states import MAX_BATCH, SUSPECT_FROM, Charge, Lane, State
from queued.drivers.values import (
    ID_PATTERN,
    LOOK_AHEAD,
    NO_COUNTS,
    QUEUE_PATTERN,
    Ack,
    Counts,
    Enqueued,
    Exchange,
    Fail,
    FailedJob,
    JobInfo,
    NewJob,
    QueueStats,
    Release,
    Reservation,
    Retry,
    Settlement,
    Ticks,
    Unique,
)

if TYPE_CHECKING:
    from queued.drivers.sequel import Batch, NewBatch

__all__ = [
    "ID_PATTERN",
    "LOOK_AHEAD",
    "MAX_BATCH",
    "NO_COUNTS",
    "QUEUE_PATTERN",
    "SUSPECT_FROM",
    "Ack",
    "Charge",
    "Counts",
    "Driver",
    "Enqueued",
    "Enqueuer",
    "Exchange",
    "Fail",
    "FailedJob",
    "JobInfo",
    "Lane",
    "NewJob",
    "Paused",
    "QueueStats",
    "RateLimit",
    "Release",
    "Reservation",
    "Retry",
    "Settlement",
    "State",
    "Ticks",
    "Unique",
]


class Enqueuer(Protocol):
    """``Driver.enqueue`` for threads without an event loop; any number may call it at once.

    A driver may offer one as ``blocking``, an attribute of its factory that makes it from a URL.
    ``queue.sync`` goes without it through an event loop in a thread of its own, at twice the cost.
    """

    def enqueue(self, queue: str, jobs: Sequence[NewJob]) -> list[Enqueued]:
        """Enqueue as ``Driver.enqueue`` does; the thread waits for it."""

    def close(self) -> None:
        """Close what is idle. A later call connects again."""


@runtime_checkable
class Driver(Protocol):
    """A back-end. Made by a factory from a URL, used by one event loop of one process.

    Every method may raise ``DriverUnavailable``. No method retries a write on its own.
    """

    name: str
    """The label of metrics: ``redis``, ``database``, ``memory``."""

    async def open(self) -> None:
        """Connect, check the server's version, create what is missing (tables, folders)."""

    async def close(self) -> None:
        """Close every connection. Idempotent."""

    async def ping(self) -> None:
        """Return when the back-end answers and takes writes, else raise ``DriverUnavailable``."""

    # producers
    async def enqueue(self, queue: str, jobs: Sequence[NewJob]) -> list[Enqueued]:
        """Enqueue up to ``MAX_BATCH`` jobs in one step, and wake an idle worker.

        Return what became of each: see ``Enqueued``. What a job holds (``NewJob.unique``) is taken
        in the same step, and given up in the step in which the job ends.
        """

    async def enqueue_batch(self, queue: str, batch: NewBatch) -> bool:
        """Create a batch with its record in ``queue``, and send its members, all in one step.

        Return False, and do nothing, if a batch of that id is known in the queue. Members of other
        queues are forwarded at once, as far as the back-end lets us.
        """

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
        """Settle what finished, then reserve up to ``want`` jobs, promoting those that are due.

        To repeat a call with the same ``nonce`` after its answer was lost is safe: settled jobs are
        reported lost, and the same batch of reservations is returned. Nonces rise per owner; one
        call that reserves (an exchange with ``want``, or a ``listen``) is in flight per owner, and
        others beside it settle only. A first reserve registers the owner with ``lease`` seconds;
        later ones write no lease. When ready jobs remain, the next idle worker is woken.

        With a ``limit`` no more jobs are reserved than there are tokens in the queue's one bucket,
        and each takes one; a ``Release`` that charges nothing gives its token back. While the queue
        is paused none is reserved or promoted, and nobody is woken.

        :raises OwnerLost: the owner is retired. Settlements have been tried (and found lost).
        """

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
        """Wait for a push, at most ``seconds``, then reserve up to ``want`` jobs like ``exchange``.

        Fewer seconds are waited when it suits the driver, and a wake-up may be lost or spurious:
        an empty answer says that nothing was ready just now. Other verbs may be called meanwhile.

        Cancelled (or ended by an error) it may have reserved, and may yet. An exchange with
        ``want`` under the same nonce puts an end to that: it returns the batch, or takes one
        itself, and the listen takes none from then on.

        :raises OwnerLost: the owner is retired; the wake-up is passed on.
        """

    async def renew(self, queue: str, owners: Sequence[str], lease: float) -> list[str]:
        """Set the leases of ``owners`` to ``lease`` seconds from now; return the retired ones.

        An owner not known yet is registered.
        """

    async def held(self, queue: str, owner: str) -> dict[str, int]:
        """Return what ``owner`` holds: the ids, with their fences."""

    # janitors
    async def retire(
        self, queue: str, owner: str, *, only_expired: bool = False
    ) -> list[Reservation]:
        """Forbid ``owner`` to reserve, for ever, and return what it still holds (for settlement).

        Idempotent. With ``only_expired`` an owner whose lease runs is left alone (and [] returned).
        """

    async def owners(self, queue: str) -> dict[str, float]:
        """Return the owners that live or still hold jobs, with the seconds left of their leases.

        Negative: the lease ran out (or the owner is retired) and its jobs wait to be settled.
        Owners that are retired and hold nothing are left out.
        """

    async def promote(self, queue: str, limit: int = MAX_BATCH) -> int:
        """Move up to ``limit`` due jobs from scheduled to ready; wake a worker; return how many."""

    async def forward(self, queue: str) -> int:
        """Move what is in the outbox of ``queue`` to the queues it is for; return how much.

        Each message arrives once, however often and by however many this is called, interrupted
        and repeated: also when the job that it brought has run and is gone meanwhile. What that
        puts into the outboxes of those queues is forwarded too.
        """

    # schedules
    async def ticks(self, queue: str) -> Ticks:
        """Return the back-end's clock, and the last tick of each schedule of ``queue``."""

    async def tick(
        self, queue: str, schedule: str, last: int | None, tick: int, job: NewJob | None
    ) -> bool:
        """Take a tick of a schedule: in one step note it, and enqueue ``job`` as ``enqueue`` does.

        Only if ``last`` (None: none) is the last one still, so that of all hosts one takes it; else
        nothing changes and False is returned, as it is when a call is repeated.

        :param job: ready at once (its delay counts for nothing); None: the tick goes by.
        """

    # failed() hooks
    async def claim_hooks(self, queue: str, limit: int, visible_after: float) -> list[FailedJob]:
        """Return failed jobs whose hook is due, and put each off by ``visible_after`` seconds."""

    async def finish_hook(self, queue: str, job_id: str, record: bytes = b"") -> None:
        """Say that the hook of a failed job has run (or that there is none). Idempotent.

        :param record: of the failure that it ran for: when the job was retried meanwhile and has
            failed again, the hook of that failure is still to run. Empty: of whichever there is.
        """

    # operators
    async def queues(self) -> list[str]:
        """Return the names of all queues that had a job or have something to forward, sorted."""

    async def stats(self, queues: Sequence[str]) -> Mapping[str, QueueStats]:
        """Sample several queues in one round trip; an unknown queue is all zeros.

        Where only a part of the back-end is away (a node of a cluster), its queues are left out.
        """

    async def find(self, job_id: str, queue: str | None = None) -> JobInfo | None:
        """Look a job up, in one queue or in all."""

    async def batch(self, batch_id: str, queue: str | None = None) -> Batch | None:
        """Look a batch up, in one queue or in all. None: there is none, or it is long over."""

    async def ahead(self, queue: str, job_id: str, limit: int = LOOK_AHEAD) -> int | None:
        """Return how many ready jobs stand before a ready job in its lane.

        None: it is not among the first ``limit`` of them, which are all that is looked at.
        """

    async def cancel(self, queue: str, job_id: str) -> State | None:
        """Remove a waiting job. Return the state it was found in; only ready and scheduled go."""

    async def purge(self, queue: str) -> int:
        """Remove every waiting job (ready, scheduled, suspects); return how many."""

    async def pause(self, queue: str, by: str = "", reason: str = "") -> bool:
        """Have nothing reserved from this queue until ``resume``; all other verbs go on.

        Return whether it was not paused before; if it was, who and why are replaced.
        """

    async def resume(self, queue: str) -> bool:
        """End a pause and wake the workers. Return whether there was one."""

    async def failed(self, queue: str, limit: int = 50, offset: int = 0) -> list[FailedJob]:
        """List failed jobs, newest first."""

    async def requeue(self, queue: str, job_ids: Sequence[str]) -> list[bool]:
        """Move failed → ready with fresh counts (the history stays).

        A job takes again what it held until it failed. False: no such failed job, or another job
        holds that now; then it stays failed.
        """

    async def prune(self, queue: str, older_than: float, limit: int = MAX_BATCH) -> int:
        """Remove up to ``limit`` jobs that failed over ``older_than`` seconds ago, oldest first.

        Those whose ``failed()`` hook is still to run stay. Return how many went: fewer than
        ``limit`` says that no more are to go.
        """

    async def forget(self, queue: str, job_ids: Sequence[str]) -> list[bool]:
        """Remove failed jobs for good. False: no such failed job."""

    async def restore(self, queue: str, failed: Sequence[FailedJob]) -> list[bool]:
        """Store failed jobs that come from elsewhere, as they are; up to ``MAX_BATCH`` in one step.

        Return for each whether it was stored; False: a job of that id exists in the queue. A hook
        that was pending is due at once.
        """
