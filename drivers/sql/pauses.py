"""pause, resume: whether anything is reserved from a queue stands in the queue's own row."""

from __future__ import annotations

from sqlalchemy import Float, null, update

from queued.drivers.sql.ledger import Ledger
from queued.drivers.sql.schema import queues
from queued.drivers.sql.session import Session, Statement
from queued.drivers.sql.sets import parameter

_here = queues.c.queue == parameter("queue")

PAUSE = Statement(
    update(queues)
    .where(_here)
    .values(
        paused_at=parameter("at", Float),
        paused_by=parameter("by"),
        pause_reason=parameter("reason"),
    )
)
RESUME = Statement(
    update(queues).where(_here).values(paused_at=null(), paused_by=null(), pause_reason=null())
)


def pause(session: Session, queue: str, by: str, reason: str) -> bool:
    """Return False for a queue that was paused: since when stays, who and why are replaced."""
    ledger = Ledger.read(session, queue)
    if ledger is None:
        ledger = Ledger(queue)
        ledger.write(session)
    at = session.now if ledger.paused_at is None else ledger.paused_at
    session.run(PAUSE, queue=queue, at=at, by=by, reason=reason)
    return ledger.paused_at is None


def resume(session: Session, queue: str) -> bool:
    """Return whether it was paused; idle workers are told."""
    ledger = Ledger.read(session, queue)
    if ledger is None or ledger.paused_at is None:
        return False
    session.run(RESUME, queue=queue)
    session.news = True
    return True
