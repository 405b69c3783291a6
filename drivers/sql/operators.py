"""What operators ask and do: queues, stats, find, cancel, purge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Float,
    Integer,
    Select,
    String,
    func,
    literal_column,
    or_,
    select,
    update,
)

from queued.drivers.base import JobInfo, Lane, Paused, QueueStats, State
from queued.drivers.sequel import End
from queued.drivers.sql.ledger import Ledger
from queued.drivers.sql.rows import info, select_infos
from queued.drivers.sql.schema import STATES, failed, in_lane, in_state, jobs, outbox, queues
from queued.drivers.sql.session import Session, Statement
from queued.drivers.sql.sets import Packed, among, parameter
from queued.drivers.sql.settle import remove

HOUR = 3600.0

_here = jobs.c.queue == parameter("queue", String)
_zero, _one = literal_column("0", Integer), literal_column("1", Integer)


def _jobs_of(queue: Any, state: State, selected: ColumnElement[Any]) -> Select[Any]:
    return select(selected).where(jobs.c.queue == queue, in_state(state))


def _head(lane: Lane) -> ColumnElement[float]:
    """When the first job of a lane became ready: the oldest, but for late promotions."""
    ready = _jobs_of(queues.c.queue, State.READY, jobs.c.ready_at).where(in_lane(lane))
    return ready.order_by(jobs.c.rank).limit(_one).scalar_subquery()


_suspects = _jobs_of(queues.c.queue, State.READY, func.count()).where(in_lane(Lane.SOLO))
_oldest_reserved = _jobs_of(queues.c.queue, State.RESERVED, func.min(jobs.c.reserved_at))
_failed_lately = select(func.count()).where(
    failed.c.queue == queues.c.queue, failed.c.failed_at > parameter("hour_ago", Float)
)
_outbox = select(func.count()).where(outbox.c.source == queues.c.queue)

NO_WRITE = Statement(
    update(queues).where(queues.c.queue == parameter("queue")).values(fence=queues.c.fence)
)
_sends = select(outbox.c.seq).where(outbox.c.source == queues.c.queue).exists()
QUEUES = Statement(select(queues.c.queue).where(or_(queues.c.enqueued_total > _zero, _sends)))
STATS = Statement(
    select(
        queues.c.queue,
        queues.c.ready,
        queues.c.scheduled,
        queues.c.reserved,
        queues.c.failed,
        _suspects.scalar_subquery(),
        queues.c.enqueued_total,
        _failed_lately.scalar_subquery(),
        queues.c.refused_total,
        _head(Lane.NORMAL),
        _head(Lane.SOLO),
        _oldest_reserved.scalar_subquery(),
        _outbox.scalar_subquery(),
        queues.c.opens_at,
        queues.c.paused_at,
        queues.c.paused_by,
        queues.c.pause_reason,
    ).where(among(queues.c.queue, "names"))
)
_named = jobs.c.id == parameter("id", String)
FIND = Statement(select_infos.where(_named).order_by(jobs.c.queue).limit(_one))
FIND_IN_QUEUE = Statement(select_infos.where(_named, _here))
PLACE = Statement(select(jobs.c.lane, jobs.c.rank).where(_named, _here, in_state(State.READY)))
_before = (
    select(_one)
    .where(
        _here,
        in_state(State.READY),
        jobs.c.lane == parameter("lane"),
        jobs.c.rank < parameter("rank"),
    )
    .limit(parameter("limit"))
    .subquery("before")
)
AHEAD = Statement(select(func.count()).select_from(_before))
WHERE = Statement(select(jobs.c.seq, jobs.c.state).where(_named, _here))


def _waiting(state: State) -> Statement:
    """The first jobs that wait in a state."""
    some = _jobs_of(parameter("queue", String), state, jobs.c.seq).limit(parameter("limit"))
    found = some.subquery("found")
    return Statement(select(Packed(found.c.seq)))


READY = _waiting(State.READY)
SCHEDULED = _waiting(State.SCHEDULED)


def probe(session: Session) -> None:
    """Raise what a write would raise: BEGIN IMMEDIATE alone succeeds on a read-only file."""
    session.run(NO_WRITE, queue="")


def list_queues(session: Session) -> list[str]:
    return sorted(queue for (queue,) in session.rows(QUEUES))


def stats(session: Session, names: Sequence[str]) -> dict[str, QueueStats]:
    rows = session.rows(STATS, names=[*names], hour_ago=session.now - HOUR)
    found = {queue: _sample(row, session.now) for queue, *row in rows}
    return {name: found.get(name, QueueStats()) for name in names}


def _sample(row: Sequence[Any], now: float) -> QueueStats:
    ready, scheduled, reserved, failed_, suspects, enqueued, lately, *others = row
    refused, normal, solo, held, sent, *holds = others
    opens_at, paused_at, paused_by, pause_reason = holds
    oldest_ready = min((at for at in (normal, solo) if at is not None), default=now)
    return QueueStats(
        ready=ready,
        scheduled=scheduled,
        reserved=reserved,
        failed=failed_,
        suspects=suspects,
        enqueued_total=enqueued,
        failed_last_hour=lately,
        refused_total=refused,
        oldest_ready_age_seconds=max(now - oldest_ready, 0.0),
        oldest_reserved_age_seconds=0.0 if held is None else max(now - held, 0.0),
        outbox=sent,
        limited_seconds=0.0 if opens_at is None else max(opens_at - now, 0.0),
        paused=None if paused_at is None else Paused(paused_at, paused_by, pause_reason),
    )


def find(session: Session, job_id: str, queue: str | None) -> JobInfo | None:
    if queue is None:
        row = session.row(FIND, id=job_id)
    else:
        row = session.row(FIND_IN_QUEUE, id=job_id, queue=queue)
    return None if row is None else info(row)


def ahead(session: Session, queue: str, job_id: str, limit: int) -> int | None:
    place = session.row(PLACE, id=job_id, queue=queue)
    if place is None:
        return None
    lane, rank = place
    before: int = session.value(AHEAD, queue=queue, lane=lane, rank=rank, limit=limit)
    return before if before < limit else None


def cancel(session: Session, queue: str, job_id: str) -> State | None:
    row = session.row(WHERE, id=job_id, queue=queue)
    ledger = Ledger.read(session, queue)
    if row is None or ledger is None:
        return None
    seq, state = row[0], STATES[row[1]]
    if state is State.READY:
        ledger.ready -= 1
    elif state is State.SCHEDULED:
        ledger.scheduled -= 1
    else:
        return state
    remove(session, ledger, [seq], End.GONE)
    ledger.write(session)
    return state


def purge(session: Session, queue: str, limit: int) -> int:
    """Remove up to ``limit`` waiting jobs, those that are ready last; return how many.

    What follows the jobs that go is behind them, and is left by whoever removes no more than wait.
    When none is left, the counts are right whatever they were: rows may have been edited by hand.
    """
    ledger = Ledger.read(session, queue)
    if ledger is None:
        return 0
    scheduled = [seq for (seq,) in session.packed(SCHEDULED, queue=queue, limit=limit)]
    left = limit - len(scheduled)
    ready = [seq for (seq,) in session.packed(READY, queue=queue, limit=left)]
    seqs = scheduled + ready
    none_left = len(seqs) < limit
    ledger.ready = 0 if none_left else ledger.ready - len(ready)
    ledger.scheduled = 0 if none_left else ledger.scheduled - len(scheduled)
    remove(session, ledger, seqs, End.GONE)  # what follows them is counted from here
    ledger.write(session)
    return len(seqs)
