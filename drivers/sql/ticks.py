"""The ticks of schedules: each is taken once, and its job enqueued in the same transaction."""

from __future__ import annotations

from sqlalchemy import insert, select, update

from queued.drivers.base import NewJob, Ticks
from queued.drivers.sql.enqueue import enqueue
from queued.drivers.sql.schema import ticks
from queued.drivers.sql.session import Session, Statement
from queued.drivers.sql.sets import parameter

_here = ticks.c.queue == parameter("queue")
_this = ticks.c.schedule == parameter("schedule")

LAST = Statement(select(ticks.c.last).where(_here, _this))
ALL = Statement(select(ticks.c.schedule, ticks.c.last).where(_here))
CREATE = Statement(
    insert(ticks).values(
        queue=parameter("queue"), schedule=parameter("schedule"), last=parameter("tick")
    )
)
ADVANCE = Statement(update(ticks).where(_here, _this).values(last=parameter("tick")))


def tick(  # noqa: PLR0917 - as in the contract
    session: Session, queue: str, schedule: str, last: int | None, at: int, job: NewJob | None
) -> bool:
    row = session.row(LAST, queue=queue, schedule=schedule)
    if (None if row is None else row[0]) != last:
        return False
    session.run(CREATE if row is None else ADVANCE, queue=queue, schedule=schedule, tick=at)
    if job is not None:
        enqueue(session, queue, [job._replace(delay=0.0)])
    return True


def list_ticks(session: Session, queue: str) -> Ticks:
    return Ticks(session.now, dict(session.rows(ALL, queue=queue)))
