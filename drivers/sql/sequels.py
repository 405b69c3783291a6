"""What follows when jobs end, within the verb that ends them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import BigInteger, Integer, String, delete, insert, select

from queued.drivers.base import NewJob
from queued.drivers.sequel import End, Member, Parcel, Sequel, pack
from queued.drivers.sql.enqueue import put
from queued.drivers.sql.ledger import Ledger
from queued.drivers.sql.members import count_ends
from queued.drivers.sql.schema import jobs as stored
from queued.drivers.sql.schema import outbox, sequels
from queued.drivers.sql.session import Session, Statement
from queued.drivers.sql.sets import Scalar, among, cut, given, parameter, sliced

_these = among(sequels.c.seq, "seqs", BigInteger)
_message = given("rows", target=String, kind=String, start=Integer, length=Integer)

SEQUELS = Statement(select(sequels.c.seq, sequels.c.sequel).where(_these))
SEQUEL_OF = Statement(
    select(sequels.c.sequel)
    .join_from(stored, sequels, sequels.c.seq == stored.c.seq)
    .where(stored.c.queue == parameter("queue"), stored.c.id == parameter("id"))
)
DELETE_SEQUELS = Statement(delete(sequels).where(_these))
POST = Statement(
    insert(outbox).from_select(
        ["source", "target", "kind", "message"],
        select(
            parameter("source", String), _message.c.target, _message.c.kind, cut(_message)
        ).select_from(_message),
    )
)


def follow(session: Session, ledger: Ledger, seqs: Sequence[int], end: End) -> None:
    """Carry out the sequels of jobs that have ended so."""
    if not (ledger.sequels and seqs):
        return
    found = dict(session.rows(SEQUELS, seqs=[*seqs]))
    if found and end is not End.FAILED:  # a failed job may be run again
        session.run(DELETE_SEQUELS, seqs=[*found])
    mail = Mail(session, ledger)
    for seq in seqs:
        if seq in found:
            mail.follow(Sequel.of(bytes(found[seq])), end)
    mail.close()


@dataclass(slots=True)
class Mail:
    """What is sent by one verb of one queue, collected to be written in sets."""

    session: Session
    ledger: Ledger
    here: list[NewJob] = field(default_factory=list)
    away: list[tuple[list[Scalar], bytes]] = field(default_factory=list)
    ends: dict[str, list[tuple[str, End]]] = field(default_factory=dict)
    """How members of batches at home here have ended, by batch."""

    def follow(self, sequel: Sequel, end: End) -> None:
        if parcel := sequel.parcel(end):
            self.send(Parcel.of(parcel))
        if sequel.member is not None and sequel.ends_member(end):
            self.tell(sequel.member, end)

    def send(self, parcel: Parcel) -> None:
        if parcel.queue == self.ledger.queue:
            self.here.append(parcel.job)
        else:
            self.away.append(([parcel.queue, "job"], parcel.packed()))

    def tell(self, member: Member, end: End) -> None:
        if member.home == self.ledger.queue:
            self.ends.setdefault(member.batch, []).append((member.id, end))
        else:
            message = pack(member.batch.encode(), member.id.encode(), end.encode())
            self.away.append(([member.home, "end"], message))

    def close(self) -> None:
        while self.here or self.ends:
            here, self.here = self.here, []
            ends, self.ends = self.ends, {}
            if here:
                self._put(here)
            for batch, its in ends.items():
                for callback in count_ends(self.session, self.ledger.queue, batch, its):
                    self.send(callback)
        for messages in sliced(self.away):
            self.session.run(POST, source=self.ledger.queue, **messages)

    def _put(self, jobs: list[NewJob]) -> None:
        """Enqueue jobs. A batch must not wait for one whose id somebody else's job has."""
        answers = put(self.session, self.ledger, jobs)
        for job, new in zip(jobs, answers, strict=True):
            member = Sequel.of(job.sequel).member if job.sequel and not new else None
            if member is None:
                continue
            row = self.session.row(SEQUEL_OF, queue=self.ledger.queue, id=job.id)
            if row is None or bytes(row[0]) != job.sequel:
                self.tell(member, End.GONE)
