"""The tables of the database driver, the same for every SQL back-end.

    queued_jobs      where each job is: small rows, rewritten as a job moves
    queued_payloads  what each job is: its bytes, written once, and the notes of its runs
    queued_failed    why a failed job failed, and when its ``failed()`` hook is due
    queued_owners    who may reserve, and what each was given last
    queued_locks     what is held so that no second job of its name is enqueued, by which job
    queued_keys      which name a job holds, or held until it failed; most jobs have none
    queued_ticks     the last tick of each schedule
    queued_queues    a queue's fence and next rank, how many of its jobs are in each state, and what
                     holds them back
    queued_sequels   what follows when a job ends, for the jobs that have a sequel
    queued_outbox    what is to be forwarded to another queue
    queued_batches   how far a batch is, and the callbacks that it has not sent yet
    queued_members   which members of a batch have ended, and how

Payloads stand apart because a job's row is rewritten at every move. The counts stand in the queue's
row, changed in the transaction that moves the jobs, because to count a million entries takes tens
of milliseconds each time that somebody looks. Every index is partial, or leads to one job: what a
verb costs does not depend on how many jobs wait. Times are seconds since the epoch, by the clock of
the back-end.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    ScalarSelect,
    SmallInteger,
    String,
    Table,
    literal_column,
    select,
)
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.schema import CreateColumn, CreateIndex, CreateTable

from queued.drivers.base import Lane, State
from queued.drivers.sequel import End
from queued.drivers.sql.views import failed_jobs

SCHEMA_VERSION = 5

STATE_CODES = {State.READY: 0, State.SCHEDULED: 1, State.RESERVED: 2, State.FAILED: 3}
STATES = {code: state for state, code in STATE_CODES.items()}
LANE_CODES = {Lane.NORMAL: 0, Lane.SOLO: 1}
END_CODES = {End.DONE: 0, End.FAILED: 1, End.GONE: 2}
ENDS = {code: end for end, code in END_CODES.items()}


def state_code(state: State) -> ColumnElement[int]:
    """Return a state as SQL: a literal, because a partial index is only used for a literal."""
    return literal_column(str(STATE_CODES[state]), Integer)


def lane_code(lane: Lane) -> ColumnElement[int]:
    return literal_column(str(LANE_CODES[lane]), Integer)


metadata = MetaData()

jobs = Table(
    "queued_jobs",
    metadata,
    Column("seq", BigInteger, primary_key=True),
    Column("id", String, nullable=False),
    Column("queue", String, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("lane", SmallInteger, nullable=False),
    Column("rank", BigInteger, nullable=False),  # the order among a queue's ready jobs
    Column("enqueued_at", Float, nullable=False),
    Column("ready_at", Float, nullable=False),  # of a scheduled job: when it is due
    Column("reserved_at", Float),
    Column("owner", String),
    Column("fence", BigInteger),
    Column("errors", Integer, nullable=False),
    Column("timeouts", Integer, nullable=False),
    Column("crashes", Integer, nullable=False),
    Column("lost", Integer, nullable=False),
    Column("releases", Integer, nullable=False),
    Column("suspicion", Integer, nullable=False),
)

payloads = Table(
    "queued_payloads",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("payload", LargeBinary, nullable=False),
    Column("history", LargeBinary),
)

failed = Table(
    "queued_failed",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("id", String, nullable=False),
    Column("queue", String, nullable=False),
    Column("failed_at", Float, nullable=False),
    Column("hook_at", Float),  # when the job's failed() may be claimed; NULL: nothing to run
    Column("record", LargeBinary, nullable=False),
)

owners = Table(
    "queued_owners",
    metadata,
    Column("queue", String, primary_key=True),
    Column("owner", String, primary_key=True),
    Column("lease_until", Float, nullable=False),
    Column("retired_at", Float),
    Column("nonce", BigInteger, nullable=False),  # of the exchange that last gave it jobs,
    Column("fence", BigInteger, nullable=False),  # and the fence of that batch
)

locks = Table(
    "queued_locks",
    metadata,
    Column("queue", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("id", String, nullable=False),
    Column("until", Float),  # NULL: until its job is done
)

keys = Table(
    "queued_keys",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("name", String, nullable=False),
    Column("lasting", SmallInteger, nullable=False),  # 1: its lock has its own end
)

queues = Table(
    "queued_queues",
    metadata,
    Column("queue", String, primary_key=True),
    Column("fence", BigInteger, nullable=False),
    Column("rank", BigInteger, nullable=False),  # of the job that next goes to the tail
    Column("enqueued_total", BigInteger, nullable=False),
    Column("ready", BigInteger, nullable=False),
    Column("scheduled", BigInteger, nullable=False),
    Column("reserved", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("keyed", BigInteger, nullable=False, server_default="0"),  # jobs in queued_keys
    Column("refused_total", BigInteger, nullable=False, server_default="0"),
    Column("paused_at", Float),  # NULL: it is not paused
    Column("paused_by", String),
    Column("pause_reason", String),
    Column("opens_at", Float),  # of a rate limit: when there is (or was) one token,
    Column("token_seconds", Float),  # and the time in which one comes
)

ADDED = {
    2: [queues.c.keyed, queues.c.refused_total],
    5: [queues.c[name] for name in ("paused_at", "paused_by", "pause_reason")]
    + [queues.c.opens_at, queues.c.token_seconds],
}
"""The columns that a version of the schema added to tables of the one before."""

sequels = Table(
    "queued_sequels",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("queue", String, nullable=False, index=True),
    Column("sequel", LargeBinary, nullable=False),  # see drivers/sequel.py
)

outbox = Table(
    "queued_outbox",
    metadata,
    Column("seq", BigInteger, primary_key=True),
    Column("source", String, nullable=False),
    Column("target", String, nullable=False),
    Column("kind", String, nullable=False),  # job: a parcel; end: of a batch's member
    Column("message", LargeBinary, nullable=False),
)

batches = Table(
    "queued_batches",
    metadata,
    Column("queue", String, primary_key=True),
    Column("batch", String, primary_key=True),
    Column("total", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("gone", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("finished_at", Float),
    Column("then_job", LargeBinary),  # a parcel, until it is sent; as the next two
    Column("catch_job", LargeBinary),
    Column("finally_job", LargeBinary),
)

members = Table(
    "queued_members",
    metadata,
    Column("queue", String, primary_key=True),
    Column("batch", String, primary_key=True),
    Column("member", String, primary_key=True),
    Column("ended", SmallInteger),  # how; NULL: it has not
)


ticks = Table(
    "queued_ticks",
    metadata,
    Column("queue", String, primary_key=True),
    Column("schedule", String, primary_key=True),
    Column("last", BigInteger, nullable=False),  # seconds since the epoch
)


def _partial(name: str, *columns: Column[object], where: ColumnElement[bool]) -> None:
    Index(name, *columns, info={"where": where})


def in_state(state: State) -> ColumnElement[bool]:
    return jobs.c.state == state_code(state)


def next_due(queue: ColumnElement[str]) -> ScalarSelect[float]:
    """Return when the earliest scheduled job of a queue is due.

    Not ``min()``: PostgreSQL may go through all that are scheduled for it.
    """
    scheduled = select(jobs.c.ready_at).where(jobs.c.queue == queue, in_state(State.SCHEDULED))
    return scheduled.order_by(jobs.c.ready_at).limit(literal_column("1", Integer)).scalar_subquery()


def in_lane(lane: Lane) -> ColumnElement[bool]:
    return jobs.c.lane == lane_code(lane)


Index("queued_jobs_id", jobs.c.id, jobs.c.queue, unique=True)
_partial("queued_jobs_ready", jobs.c.queue, jobs.c.lane, jobs.c.rank, where=in_state(State.READY))
_partial(
    "queued_jobs_scheduled",
    *(jobs.c.queue, jobs.c.ready_at, jobs.c.rank),
    where=in_state(State.SCHEDULED),
)
_partial(
    "queued_jobs_reserved",
    *(jobs.c.queue, jobs.c.owner, jobs.c.fence, jobs.c.reserved_at),
    where=in_state(State.RESERVED),
)
Index("queued_failed_at", failed.c.queue, failed.c.failed_at)
Index("queued_outbox_way", outbox.c.source, outbox.c.target, outbox.c.seq)
_partial(
    "queued_failed_hooks", failed.c.queue, failed.c.hook_at, where=failed.c.hook_at.is_not(None)
)
_partial("queued_locks_until", locks.c.queue, locks.c.until, where=locks.c.until.is_not(None))


def creation(dialect: Dialect) -> Iterator[str]:
    """Yield the statements that create what is missing: tables, indexes, the view."""
    for table in metadata.sorted_tables:
        yield str(CreateTable(table, if_not_exists=True).compile(dialect=dialect))
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            where = index.info.get("where")
            suffix = "" if where is None else f" WHERE {where.compile(dialect=dialect)}"
            yield str(CreateIndex(index, if_not_exists=True).compile(dialect=dialect)) + suffix
    yield failed_jobs(dialect.name)


def upgrade(dialect: Dialect, version: int) -> Iterator[str]:
    """Yield the statements that turn tables of an earlier version into today's."""
    for newer in range(version + 1, SCHEMA_VERSION + 1):
        for column in ADDED.get(newer, ()):
            described = CreateColumn(column).compile(dialect=dialect)
            yield f"ALTER TABLE {column.table.name} ADD COLUMN {described}"
    yield from creation(dialect)
