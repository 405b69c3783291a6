"""What the memory driver does with sequels: all at once, since one lock is held for all queues.

The other drivers come to the same through an outbox.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from queued.drivers.sequel import (
    KEEP_BATCH,
    MAX_FAILED_IDS,
    Batch,
    End,
    Member,
    NewBatch,
    Parcel,
    Sequel,
    Tally,
    counts_anew,
)

Send = Callable[[Parcel], None]


@dataclass(slots=True)
class StoredBatch:
    """A batch, in its home."""

    tally: Tally
    created_at: float
    members: dict[str, End | None]
    callbacks: dict[str, Parcel]
    finished_at: float | None = None


@dataclass(slots=True)
class Batches:
    """The batches of all queues, by home and id, and where what follows is sent."""

    send: Send
    stored: dict[tuple[str, str], StoredBatch] = field(default_factory=dict)

    def create(self, home: str, new: NewBatch, now: float) -> bool:
        """Create a batch and send its members; False: there is one of that id."""
        self._forget_old(now)
        if (home, new.id) in self.stored:
            return False
        named = {"then": new.then, "catch": new.catch, "finally": new.finally_}
        members: dict[str, End | None] = {}
        for parcel in new.members:
            member = Sequel.of(parcel.job.sequel).member
            assert member is not None
            members[member.id] = None
        self.stored[home, new.id] = StoredBatch(
            Tally(len(members)), now, members, {name: one for name, one in named.items() if one}
        )
        for parcel in new.members:
            self.send(parcel)
        return True

    def ended(self, packed: bytes, end: End, now: float) -> None:
        """Carry out the sequel of a job that has ended."""
        if not packed:
            return
        sequel = Sequel.of(packed)
        if parcel := sequel.parcel(end):
            self.send(Parcel.of(parcel))
        if sequel.member is not None and sequel.ends_member(end):
            self._tell(sequel.member, end, now)

    def refused(self, packed: bytes, now: float) -> None:
        """Let no batch wait for a job that is not enqueued: somebody else's job has its id."""
        if packed and (member := Sequel.of(packed).member):
            self._tell(member, End.GONE, now)

    def find(self, batch_id: str, home: str | None) -> Batch | None:
        for (queue, known), stored in sorted(self.stored.items(), key=lambda item: item[0]):
            if known == batch_id and home in {None, queue}:
                total, done, failed, gone = stored.tally
                failures = sorted(one for one, end in stored.members.items() if end is End.FAILED)
                return Batch(
                    *(batch_id, queue, total, done, failed, gone),
                    *(stored.created_at, stored.finished_at, tuple(failures[:MAX_FAILED_IDS])),
                )
        return None

    def _tell(self, member: Member, end: End, now: float) -> None:
        if stored := self.stored.get((member.home, member.batch)):
            self._count(stored, member.id, end, now)

    def _count(self, stored: StoredBatch, member: str, end: End, now: float) -> None:
        was = stored.members[member]
        if end is End.FAILED:
            self._call_back(stored, "catch")
        if not counts_anew(was, end):
            return
        stored.members[member] = end
        stored.tally = stored.tally.moved(was, end)
        if stored.tally.all_done:
            self._call_back(stored, "then")
        if stored.tally.ended:
            self._call_back(stored, "finally")
            stored.finished_at = stored.finished_at or now

    def _call_back(self, stored: StoredBatch, name: str) -> None:
        """Send a callback, unless it was sent before."""
        if parcel := stored.callbacks.pop(name, None):
            self.send(parcel)

    def _forget_old(self, now: float) -> None:
        self.stored = {
            key: one
            for key, one in self.stored.items()
            if one.finished_at is None or one.finished_at > now - KEEP_BATCH
        }
