"""``chain`` and ``batch``: several jobs dispatched as one piece of work.

    await dispatch(chain([Charge(order=7), Ship(order=7), Thank(order=7)]).catch(Refund(order=7)))
    await dispatch(batch([Resize(image=i) for i in images]).then(Publish()).finally_(Clean()))

All of it is validated, encoded and given ids when it is dispatched. What follows a job then lies in
the back-end beside it (``queued.drivers.sequel``): no worker has to remember anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple, Self

from queued.drivers.sequel import MAX_MEMBERS, Member, NewBatch
from queued.errors import DriverUnavailable, InvalidJob, PayloadTooLarge
from queued.jobs.client import BATCH_BYTES, unavailable
from queued.jobs.ids import new_id
from queued.jobs.job import Job
from queued.jobs.parcel import checked_id
from queued.jobs.work import Encoded, Link, Work, check_ids, pack_link, placed, sending
from queued.policy import MAX_PAYLOAD
from queued.units import format_size

if TYPE_CHECKING:
    from queued.jobs.queue import Queue
    from queued.jobs.trace_context import TraceContext

MAX_LINKS = 1_000
"""The most links of a chain: each one carries all that come after it."""


class ChainReceipt(NamedTuple):
    """What the back-end acknowledged. ``enqueued`` is False if a job of the first id was there."""

    ids: list[str]
    """Of the links, in their order."""
    enqueued: bool


class BatchReceipt(NamedTuple):
    """What the back-end acknowledged. ``enqueued`` is False if a batch of that id was known."""

    id: str
    """What ``queue.batch`` and ``queued batch`` know it by."""
    ids: list[str]
    """Of its jobs, in their order; of a chain the first link's."""
    enqueued: bool


class Chain(Work[Encoded, ChainReceipt]):
    """Jobs that run one after the other: see ``chain``."""

    kind = "chain"

    def __init__(self, links: Iterable[Job | Link]) -> None:
        self._links = list(links)
        self._catch: Job | Link | None = None

    def catch(self, job: Job | Link) -> Self:
        """Have ``job`` enqueued when a link has failed for good: the rest of the chain is not."""
        self._catch = job
        return self

    def encode(self) -> Encoded:
        if not self._links:
            raise InvalidJob("a chain needs one job at least")
        if len(self._links) > MAX_LINKS:
            raise InvalidJob(f"a chain has {MAX_LINKS} links at most, got {len(self._links)}")
        links = [pack_link(link, f"links[{n}]") for n, link in enumerate(self._links)]
        check_ids([link.job.id for link in links], "links")
        catch = None if self._catch is None else pack_link(self._catch, "catch")
        encoded = Encoded(links, catch)
        if encoded.size > MAX_PAYLOAD:
            raise PayloadTooLarge(
                f"the payloads of this chain have {format_size(encoded.size)} and at most"
                f" {format_size(MAX_PAYLOAD)} are taken: store the data elsewhere and chain its ids"
            )
        return encoded

    async def send(self, queue: Queue, encoded: Encoded) -> ChainReceipt:
        ids = [link.job.id for link in encoded.links]
        client = queue.client()
        with sending(client.url, [link.queue for link in encoded.links]) as context:
            first = encoded.first(context)
            try:
                [enqueued] = await client.enqueue_all(first.queue, [first.job])
            except DriverUnavailable as error:
                raise unavailable(error, ids) from error
        return ChainReceipt(ids, enqueued is True)


class EncodedBatch(NamedTuple):
    """A batch ready to be sent."""

    id: str
    home: str
    members: list[Encoded]
    callbacks: dict[str, Encoded]

    def batch(self, context: TraceContext | None) -> NewBatch:
        return NewBatch(
            self.id,
            [
                one.first(context, Member(self.home, self.id, one.links[0].job.id))
                for one in self.members
            ],
            **{name: one.first(context) for name, one in self.callbacks.items()},
        )


class PendingBatch(Work[EncodedBatch, BatchReceipt]):
    """Jobs that run side by side, not dispatched yet: see ``batch``."""

    kind = "batch"

    def __init__(self, jobs: Iterable[Job | Link | Chain], id: str | None = None) -> None:  # noqa: A002
        self._jobs = list(jobs)
        self._id = id
        self._callbacks: dict[str, Job | Link | Chain] = {}

    def then(self, job: Job | Link | Chain) -> Self:
        """Have ``job`` enqueued when every job of the batch is done."""
        return self._call_back("then", job)

    def catch(self, job: Job | Link | Chain) -> Self:
        """Have ``job`` enqueued, once, when the first job of the batch has failed for good."""
        return self._call_back("catch", job)

    def finally_(self, job: Job | Link | Chain) -> Self:
        """Have ``job`` enqueued when every job of the batch has ended, however it did."""
        return self._call_back("finally_", job)

    def _call_back(self, name: str, job: Job | Link | Chain) -> Self:
        self._callbacks[name] = job
        return self

    def encode(self) -> EncodedBatch:
        if not self._jobs:
            raise InvalidJob("a batch needs one job at least")
        if len(self._jobs) > MAX_MEMBERS:
            raise InvalidJob(f"a batch has {MAX_MEMBERS} jobs at most, got {len(self._jobs)}")
        members = [_encode(job, f"jobs[{n}]") for n, job in enumerate(self._jobs)]
        check_ids([link.job.id for one in members for link in one.links], "jobs")
        callbacks = {name: _encode(job, name.rstrip("_")) for name, job in self._callbacks.items()}
        size = sum(one.size for one in (*members, *callbacks.values()))
        if size > BATCH_BYTES:
            raise PayloadTooLarge(
                f"the payloads of this batch have {format_size(size)} and at most"
                f" {format_size(BATCH_BYTES)} are taken: store the data elsewhere"
            )
        order = [callbacks[name] for name in ("then", "catch", "finally_") if name in callbacks]
        home = (order or members)[0].links[0].queue
        batch_id = new_id() if self._id is None else checked_id(self._id)
        return EncodedBatch(batch_id, home, members, callbacks)

    async def send(self, queue: Queue, encoded: EncodedBatch) -> BatchReceipt:
        firsts = [one.links[0] for one in encoded.members]
        ids = [first.job.id for first in firsts]
        client = queue.client()
        with sending(client.url, [first.queue for first in firsts]) as context:
            try:
                enqueued = await client.enqueue_batch(encoded.home, encoded.batch(context))
            except DriverUnavailable as error:
                raise unavailable(error, ids) from error
        return BatchReceipt(encoded.id, ids, enqueued)


def chain(links: Iterable[Job | Link]) -> Chain:
    """Return jobs as a chain: each one is enqueued when the one before is done.

    A link that fails for good ends the chain; retried by an operator, it goes on. Each link goes to
    the queue of its class; a ``Link`` says otherwise.
    """
    return Chain(links)


def batch(jobs: Iterable[Job | Link | Chain], *, id: str | None = None) -> PendingBatch:  # noqa: A002
    """Return jobs as a batch: they run side by side, and its callbacks when they have ended.

    :param id: None for a new one; to dispatch twice under one id is to dispatch once.
    """
    return PendingBatch(jobs, id)


def _encode(job: Job | Link | Chain, where: str) -> Encoded:
    if isinstance(job, Chain):
        try:
            return job.encode()
        except InvalidJob as error:
            raise placed(where, error) from error.__cause__
    return Encoded([pack_link(job, where)])
