"""What follows when a job ends: the next link of its chain, and word to the batch that it is in.

A *sequel* is kept beside its job, in the job's own queue, and carried out by the verb that ends the
job: the ack that removes a link enqueues the next one, in the same script or transaction. What goes
to another queue is a message in the *outbox*, under the same hash tag (or in a table), from where
``Driver.forward`` takes it, however often that is interrupted, exactly once.

Stored values are lists of byte strings, each after its length in four bytes, so that Lua can take
them apart with ``struct``:

    sequel    next link, catch (parcels), home queue, batch, member, place; each empty for none
    parcel    queue, id, payload, delay in ms, sequel
    end       batch, member, how it ended
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Self

from queued.drivers.base import NewJob

MAX_MEMBERS = 10_000
"""The most jobs of a batch: it is made in one step, in which the back-end does nothing else."""
KEEP_BATCH = 7 * 86_400
"""Seconds for which the record of a batch is kept after its last member has ended."""
MAX_FAILED_IDS = 100
"""How many of a batch's failed members are named by ``Driver.batch``."""


class End(StrEnum):
    """How a job ended, for what follows it."""

    DONE = "done"
    FAILED = "failed"
    """For good; an operator may requeue it all the same."""
    GONE = "gone"
    """Removed by an operator: cancelled, purged, forgotten."""


def pack(*fields: bytes) -> bytes:
    """Return byte strings as one."""
    return b"".join([part for field in fields for part in (len(field).to_bytes(4), field)])


def fields(packed: bytes) -> list[bytes]:
    """Reverse ``pack``."""
    found, at = [], 0
    while at < len(packed):
        start = at + 4
        at = start + int.from_bytes(packed[at:start])
        found.append(packed[start:at])
    return found


class Parcel(NamedTuple):
    """A job and the queue it goes to."""

    queue: str
    job: NewJob

    def packed(self) -> bytes:
        job = self.job
        delay = max(1, round(job.delay * 1000)) if job.delay > 0 else 0
        texts = self.queue.encode(), job.id.encode()
        return pack(*texts, job.payload, str(delay).encode(), job.sequel)

    @classmethod
    def of(cls, packed: bytes) -> Self:
        queue, job_id, payload, delay, sequel = fields(packed)
        job = NewJob(job_id.decode(), payload, int(delay) / 1000, sequel=sequel)
        return cls(queue.decode(), job)


def links(parcel: Parcel) -> Iterator[Parcel]:
    """Yield a parcel, and those of the links that follow it in its chain."""
    while True:
        yield parcel
        then = Sequel.of(parcel.job.sequel).then if parcel.job.sequel else b""
        if not then:
            return
        parcel = Parcel.of(then)


class Place(NamedTuple):
    """Which link of a chain a job is."""

    chain: str
    """The id of the first link."""
    link: int
    """From 1."""
    links: int


def _place(chain: str, link: str, links: str) -> Place:
    return Place(chain, int(link), int(links))


class Member(NamedTuple):
    """Which member of a batch a job is. All links of a chain are one member."""

    home: str
    """The queue that has the batch's record."""
    batch: str
    id: str


class Sequel(NamedTuple):
    """What follows a job: parcels are packed, so that nobody takes apart what is only passed on."""

    then: bytes = b""
    """The parcel of the next link, sent when this one is done."""
    catch: bytes = b""
    """The parcel of the chain's ``catch``, sent when this link fails for good."""
    member: Member | None = None
    place: Place | None = None

    def packed(self) -> bytes:
        member = (text.encode() for text in self.member or ("", "", ""))
        place = " ".join(map(str, self.place or ())).encode()
        return pack(self.then, self.catch, *member, place)

    @classmethod
    def of(cls, packed: bytes) -> Self:
        then, catch, home, batch, member, place = fields(packed)
        return cls(
            then,
            catch,
            Member(home.decode(), batch.decode(), member.decode()) if batch else None,
            _place(*place.decode().split()) if place else None,
        )

    def ends_member(self, end: End) -> bool:
        """Whether this end of the job is the end of the batch's member: not if a link follows."""
        return self.member is not None and not (self.then and end is End.DONE)

    def parcel(self, end: End) -> bytes:
        """Return the packed parcel that such an end sends; empty for none."""
        if end is End.DONE:
            return self.then
        return self.catch if end is End.FAILED else b""


class NewBatch(NamedTuple):
    """A batch to create. Each member's job has a sequel that names the batch."""

    id: str
    members: Sequence[Parcel]
    then: Parcel | None = None
    """Sent when every member is done,"""
    catch: Parcel | None = None
    """when the first one has failed for good,"""
    finally_: Parcel | None = None
    """when all have ended, however they did. Each is sent once."""


@dataclass(frozen=True, slots=True)
class Batch:
    """How far a batch is."""

    id: str
    queue: str
    """Its home: the queue that has its record."""
    total: int
    done: int
    failed: int
    """Members that have failed for good, and were not retried with success."""
    cancelled: int
    """Members that an operator removed: by cancel, purge or forget."""
    created_at: float
    """Seconds since the epoch, by the back-end's clock."""
    finished_at: float | None = None
    """When the last member ended; None while some are pending."""
    failed_ids: tuple[str, ...] = ()
    """Of failed members, a hundred at most."""

    @property
    def pending(self) -> int:
        """Members that have not ended."""
        return self.total - self.done - self.failed - self.cancelled

    @property
    def finished(self) -> bool:
        return self.finished_at is not None


class Tally(NamedTuple):
    """How many members of a batch ended how: what decides when its callbacks are due."""

    total: int
    done: int = 0
    failed: int = 0
    gone: int = 0

    def moved(self, was: End | None, end: End) -> Tally:
        """Return the counts after a member that had ended as ``was`` (None: it had not) ends."""
        counts = self._asdict()
        if was is not None:
            counts[was] -= 1
        counts[end] += 1
        return Tally(**counts)

    @property
    def all_done(self) -> bool:
        return self.done == self.total

    @property
    def ended(self) -> bool:
        return self.done + self.failed + self.gone == self.total


def counts_anew(was: End | None, end: End) -> bool:
    """Whether an end changes what a batch knows of a member.

    It can be told twice, and that of a member whose failure was retried or forgotten replaces it.
    """
    if was is None:
        return True
    return was is not End.DONE and was is not end and (was, end) != (End.GONE, End.FAILED)
