"""From the outbox of one queue to another queue: one transaction, under the lock of the target."""

from __future__ import annotations

from sqlalchemy import BigInteger, delete, select

from queued.drivers.sequel import End, Member, Parcel, fields
from queued.drivers.sql.ledger import Ledger
from queued.drivers.sql.schema import outbox
from queued.drivers.sql.sequels import Mail
from queued.drivers.sql.session import Session, Statement
from queued.drivers.sql.sets import among, parameter

_from = outbox.c.source == parameter("source")

TARGETS = Statement(select(outbox.c.target).where(_from).distinct())
MESSAGES = Statement(
    select(outbox.c.seq, outbox.c.kind, outbox.c.message)
    .where(_from, outbox.c.target == parameter("target"))
    .order_by(outbox.c.seq)
    .limit(parameter("limit"))
)
REMOVE = Statement(delete(outbox).where(among(outbox.c.seq, "seqs", BigInteger)))


def targets(session: Session, source: str) -> list[str]:
    """Return the queues that the outbox of ``source`` has something for."""
    return [target for (target,) in session.rows(TARGETS, source=source)]


def deliver(session: Session, target: str, source: str, limit: int) -> int:
    """Move up to ``limit`` messages to their target; return how many.

    Only a delivery to the same target could take them too, and it waits for this one's lock.
    """
    messages = session.rows(MESSAGES, source=source, target=target, limit=limit)
    if not messages:
        return 0
    session.run(REMOVE, seqs=[seq for seq, _, _ in messages])
    ledger = Ledger.read(session, target) or Ledger(target)
    mail = Mail(session, ledger)
    for _, kind, message in messages:
        if kind == "job":
            mail.send(Parcel.of(bytes(message)))
        else:
            batch, member, end = (text.decode() for text in fields(bytes(message)))
            mail.tell(Member(target, batch, member), End(end))
    mail.close()
    ledger.write(session)
    return len(messages)
