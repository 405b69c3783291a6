"""From the outbox of one queue to another queue: one transaction, under the lock of the target."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import BigInteger, delete, func, select

from queued.drivers.sequel import End, Member, Parcel, fields
from queued.drivers.sql.ledger import Ledger
from queued.drivers.sql.schema import outbox
from queued.drivers.sql.sequels import Mail
from queued.drivers.sql.session import Session, Statement
from queued.drivers.sql.sets import MAX_BLOB, among, parameter

_from = outbox.c.source == parameter("source")

TARGETS = Statement(select(outbox.c.target).where(_from).distinct())
SIZES = Statement(
    select(outbox.c.seq, func.length(outbox.c.message))
    .where(_from, outbox.c.target == parameter("target"))
    .order_by(outbox.c.seq)
    .limit(parameter("limit"))
)
MESSAGES = Statement(
    select(outbox.c.kind, outbox.c.message)
    .where(among(outbox.c.seq, "seqs", BigInteger))
    .order_by(outbox.c.seq)
)
REMOVE = Statement(delete(outbox).where(among(outbox.c.seq, "seqs", BigInteger)))


def targets(session: Session, source: str) -> list[str]:
    """Return the queues that the outbox of ``source`` has something for."""
    return [target for (target,) in session.rows(TARGETS, source=source)]


def deliver(session: Session, target: str, source: str, limit: int) -> int:
    """Move up to ``limit`` messages to their target; return how many: 0 when none is left.

    Only a delivery to the same target could take them too, and it waits for this one's lock.
    """
    seqs = _together(session.rows(SIZES, source=source, target=target, limit=limit))
    if not seqs:
        return 0
    messages = session.rows(MESSAGES, seqs=seqs)
    session.run(REMOVE, seqs=seqs)
    ledger = Ledger.read(session, target) or Ledger(target)
    mail = Mail(session, ledger)
    for kind, message in messages:
        if kind == "job":
            mail.send(Parcel.of(bytes(message)))
        else:
            batch, member, end = (text.decode() for text in fields(bytes(message)))
            mail.tell(Member(target, batch, member), End(end))
    mail.close()
    ledger.write(session)
    return len(messages)


def _together(sizes: Sequence[tuple[int, int]]) -> list[int]:
    """Return the first messages, of all whose sizes are given, that are not too large together."""
    seqs: list[int] = []
    room = MAX_BLOB
    for seq, size in sizes:
        room -= size
        if seqs and room < 0:
            break
        seqs.append(seq)
    return seqs
