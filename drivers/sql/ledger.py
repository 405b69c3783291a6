"""A queue's own row: its fence, its next rank, and how many of its jobs are in each state.

A verb reads it, changes it as it moves jobs, and writes it back in the same transaction, which no
other of the queue runs beside.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import String, insert, select, update

from queued.drivers.sql.schema import next_due, queues, sequels
from queued.drivers.sql.session import Session, Statement
from queued.drivers.sql.sets import parameter

_FIELDS = (
    *("fence", "rank", "enqueued_total", "ready", "scheduled", "reserved", "failed"),
    *("keyed", "refused_total"),
)

_HOLDS = ("paused_at", "opens_at", "token_seconds")  # which are written by whoever changes them

_READY = _FIELDS.index("ready")

NEWS_BELOW = 16
"""Where so many jobs were ready, whoever is idle has been told, and is on its way."""

READ = Statement(
    select(
        *(queues.c[field] for field in _FIELDS),
        next_due(parameter("queue", String)),
        select(sequels.c.seq).where(sequels.c.queue == parameter("queue")).exists(),
        *(queues.c[field] for field in _HOLDS),
    ).where(queues.c.queue == parameter("queue"))
)
CREATE = Statement(
    insert(queues).values(queue=parameter("queue"), **{f: parameter(f) for f in _FIELDS})
)
WRITE = Statement(
    update(queues)
    .where(queues.c.queue == parameter("queue"))
    .values({field: parameter(field) for field in _FIELDS})
)
TOKENS = Statement(
    update(queues)
    .where(queues.c.queue == parameter("queue"))
    .values(opens_at=parameter("opens_at"), token_seconds=parameter("token_seconds"))
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
    keyed: int = 0
    """Its jobs that hold a name, or held it until they failed."""
    refused_total: int = 0
    next_due: float | None = None
    """When the earliest scheduled job is due: as read, or sooner by what was scheduled since."""
    sequels: bool = False
    """Whether any of its jobs has a sequel."""
    paused_at: float | None = None
    opens_at: float | None = None
    """When the rate limit's bucket has (or had) one token; None: there never was a limit,"""
    token_seconds: float | None = None
    """and the time in which one comes."""
    _stored: tuple[int, ...] = ()
    _sooner: bool = False

    @classmethod
    def read(cls, session: Session, queue: str) -> Ledger | None:
        """Return a queue's row; None for a queue that never had a job."""
        row = session.row(READ, queue=queue)
        if row is None:
            return None
        ledger = cls(queue, *row)
        ledger._stored = row[: len(_FIELDS)]
        return ledger

    def write(self, session: Session) -> None:
        """Store what changed. Nothing did in an idle worker's look: it must not write, nor wake."""
        if (fields := self._fields()) != self._stored:
            statement = WRITE if self._stored else CREATE
            session.run(statement, queue=self.queue, **dict(zip(_FIELDS, fields, strict=True)))
            was_ready = self._stored[_READY] if self._stored else 0
            session.news = self._sooner or (self.ready > 0 and was_ready < NEWS_BELOW)
            self._stored = fields

    def store_tokens(self, session: Session, opens_at: float, seconds: float) -> None:
        """Store when there is (or was) one token, and in which time one comes."""
        self.opens_at, self.token_seconds = opens_at, seconds
        session.run(TOKENS, queue=self.queue, opens_at=opens_at, token_seconds=seconds)

    def _fields(self) -> tuple[int, ...]:
        return (
            self.fence,
            self.rank,
            self.enqueued_total,
            self.ready,
            self.scheduled,
            self.reserved,
            self.failed,
            self.keyed,
            self.refused_total,
        )

    def schedule(self, count: int, due_at: float) -> None:
        """Count jobs that became scheduled, of which the first is due at ``due_at``."""
        self.scheduled += count
        if self.next_due is None or due_at < self.next_due:
            self.next_due, self._sooner = due_at, True

    def take_ranks(self, count: int) -> int:
        """Return the first of ``count`` ranks at the tail."""
        first = self.rank
        self.rank += count
        return first
