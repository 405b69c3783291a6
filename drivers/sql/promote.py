"""promote: scheduled → ready, at the tail, in the order in which the jobs fell due.

A promoted job is ready since it was due, however late somebody looked.
"""

from __future__ import annotations

from sqlalchemy import Float, func, select, update

from queued.drivers.base import State
from queued.drivers.sql.ledger import Ledger
from queued.drivers.sql.schema import in_state, jobs, state_code
from queued.drivers.sql.session import Session, Statement
from queued.drivers.sql.sets import parameter

_due = (
    select(jobs.c.seq, jobs.c.ready_at, jobs.c.rank)
    .where(
        jobs.c.queue == parameter("queue"),
        jobs.c.ready_at <= parameter("now", Float),
        in_state(State.SCHEDULED),
    )
    .order_by(jobs.c.ready_at, jobs.c.rank)
    .limit(parameter("limit"))
    .subquery("due")
)
_numbered = select(
    _due.c.seq,
    func.row_number().over(order_by=(_due.c.ready_at, _due.c.rank)).label("number"),
).subquery("numbered")
PROMOTE = Statement(
    update(jobs)
    .where(jobs.c.seq == _numbered.c.seq)
    .values(state=state_code(State.READY), rank=_numbered.c.number + parameter("above"))
)


def promote(session: Session, ledger: Ledger, limit: int) -> int:
    """Promote up to ``limit`` jobs; return how many."""
    if ledger.next_due is None or ledger.next_due > session.now:
        return 0
    above = ledger.rank - 1
    count = session.run(PROMOTE, queue=ledger.queue, now=session.now, limit=limit, above=above)
    ledger.rank += count
    ledger.scheduled -= count
    ledger.ready += count
    return count


def promote_due(session: Session, queue: str, limit: int) -> int:
    """``Driver.promote``."""
    ledger = Ledger.read(session, queue)
    if ledger is None:
        return 0
    count = promote(session, ledger, limit)
    ledger.write(session)
    return count
