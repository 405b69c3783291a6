"""A queue's own row: its fence, its next rank, and how many of its jobs are in each state.

A verb reads it first, which on a server also locks the queue, changes it as it moves jobs, and
writes it back in the same transaction.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, insert, select, update

from queued.drivers.base import State
from queued.drivers.sql.schema import in_state, jobs, queues
from queued.drivers.sql.session import Session, Statement
from queued.drivers.sql.sets import parameter

_FIELDS = ("fence", "rank", "enqueued_total", "ready", "scheduled", "reserved", "failed")

_next_due = (
    select(func.min(jobs.c.ready_at))
    .where(jobs.c.queue == parameter("queue"), in_state(State.SCHEDULED))
    .scalar_subquery()
)

READ = Statement(
    select(*(queues.c[field] for field in _FIELDS), _next_due)
    .where(queues.c.queue == parameter("queue"))
    .with_for_update(of=queues)
)
CREATE = Statement(
    insert(queues).values(queue=parameter("queue"), **{f: parameter(f) for f in _FIELDS})
)
WRITE = Statement(
    update(queues)
    .where(queues.c.queue == parameter("queue"))
    .values({field: parameter(field) for field in _FIELDS})
)


@dataclass(slots=True)
class Ledger:
    """A queue's row, as read and since changed."""

    queue: str
    fence: int = 0
    rank: int = 0
    enqueued_total: int = 0
    ready: int = 0
    scheduled: int = 0
    reserved: int = 0
    failed: int = 0
    next_due: float | None = None
    """When the earliest scheduled job is due, as read."""
    _stored: tuple[int, ...] = ()

    @classmethod
    def read(cls, session: Session, queue: str) -> Ledger | None:
        """Return a queue's row; None for a queue that never had a job."""
        row = session.row(READ, queue=queue)
        if row is None:
            return None
        ledger = cls(queue, *row)
        ledger._stored = row[:-1]
        return ledger

    def write(self, session: Session) -> None:
        """Store what changed. Nothing did in an idle worker's look: it must not write, nor wake."""
        if (fields := self._fields()) != self._stored:
            statement = WRITE if self._stored else CREATE
            session.run(statement, queue=self.queue, **dict(zip(_FIELDS, fields, strict=True)))
            self._stored = fields

    def _fields(self) -> tuple[int, ...]:
        return (
            self.fence,
            self.rank,
            self.enqueued_total,
            self.ready,
            self.scheduled,
            self.reserved,
            self.failed,
        )

    def take_ranks(self, count: int) -> int:
        """Return the first of ``count`` ranks at the tail."""
        first = self.rank
        self.rank += count
        return first
