"""The failed jobs: their hooks, claimed and finished; listed, requeued, forgotten by operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Float,
    Integer,
    LargeBinary,
    delete,
    func,
    literal_column,
    null,
    select,
    update,
)

from queued.drivers.base import Counts, FailedJob, Lane, State
from queued.drivers.sequel import End
from queued.drivers.sql.ledger import Ledger
from queued.drivers.sql.rows import failure, select_failures
from queued.drivers.sql.schema import failed, in_state, jobs, lane_code, state_code
from queued.drivers.sql.session import Session, Statement
from queued.drivers.sql.sets import among, given, packed, parameter
from queued.drivers.sql.settle import remove
from queued.drivers.sql.unique import taken_again

_here = failed.c.queue == parameter("queue")
_zero = literal_column("0", Integer)
_requeued = given("rows", seq=BigInteger, rank=BigInteger)

DUE_HOOKS = Statement(
    select(failed.c.seq)
    .where(_here, failed.c.hook_at <= parameter("now", Float))
    .order_by(failed.c.hook_at)
    .limit(parameter("limit"))
)
PUT_OFF = Statement(
    update(failed)
    .where(among(failed.c.seq, "seqs", BigInteger))
    .values(hook_at=parameter("until", Float))
)
CLAIMED = Statement(
    select_failures.where(among(failed.c.seq, "seqs", BigInteger)).order_by(failed.c.seq)
)
FINISH_HOOK = Statement(
    update(failed)
    .where(
        failed.c.seq
        == select(jobs.c.seq)
        .where(jobs.c.queue == parameter("queue"), jobs.c.id == parameter("id"))
        .scalar_subquery(),
        failed.c.record == func.coalesce(parameter("record", LargeBinary), failed.c.record),
    )
    .values(hook_at=null())
)
_newest_first = failed.c.failed_at.desc(), failed.c.seq.desc()
_page = (  # by itself, so that what the offset skips is read of the index alone
    select(failed.c.seq)
    .where(_here)
    .order_by(*_newest_first)
    .limit(parameter("limit"))
    .offset(parameter("offset"))
)
LISTED = Statement(select_failures.where(failed.c.seq.in_(_page)).order_by(*_newest_first))
OLD = Statement(
    select(failed.c.seq)
    .where(_here, failed.c.failed_at < parameter("before", Float), failed.c.hook_at.is_(None))
    .order_by(failed.c.failed_at)
    .limit(parameter("limit"))
)
FAILED = Statement(
    packed(jobs.c.id, jobs.c.seq).where(
        jobs.c.queue == parameter("queue"),
        among(jobs.c.id, "ids"),
        in_state(State.FAILED),
    )
)
DELETE_RECORDS = Statement(delete(failed).where(among(failed.c.seq, "seqs", BigInteger)))
REQUEUE = Statement(
    update(jobs)
    .where(jobs.c.seq == _requeued.c.seq)
    .values(
        state=state_code(State.READY),
        lane=lane_code(Lane.NORMAL),
        rank=_requeued.c.rank,
        ready_at=parameter("now", Float),
        **dict.fromkeys(Counts._fields, _zero),
    )
)


def claim_hooks(session: Session, queue: str, limit: int, visible_after: float) -> list[FailedJob]:
    due = session.rows(DUE_HOOKS, queue=queue, now=session.now, limit=limit)
    seqs = [seq for (seq,) in due]
    if not seqs:
        return []
    session.run(PUT_OFF, seqs=seqs, until=session.now + visible_after)
    session.commit()
    return [failure(row) for row in session.rows(CLAIMED, seqs=seqs)]


def finish_hook(session: Session, queue: str, job_id: str, record: bytes) -> None:
    session.run(FINISH_HOOK, queue=queue, id=job_id, record=record or None)


def list_failed(session: Session, queue: str, limit: int, offset: int) -> list[FailedJob]:
    rows = session.rows(LISTED, queue=queue, limit=limit, offset=offset)
    return [failure(row) for row in rows]


def requeue(session: Session, queue: str, ids: Sequence[str]) -> list[bool]:
    found, ledger = _find(session, queue, ids), Ledger.read(session, queue)
    if not found or ledger is None:
        return [False] * len(ids)
    refused = taken_again(session, ledger, list(found.values()))
    found = {job_id: seq for job_id, seq in found.items() if seq not in refused}
    seqs = list(found.values())
    if seqs:
        session.run(DELETE_RECORDS, seqs=seqs)
        rank = ledger.take_ranks(len(seqs))
        rows: list[Any] = [[seq, rank + n] for n, seq in enumerate(seqs)]
        session.run(REQUEUE, rows=rows, now=session.now)
        ledger.failed -= len(seqs)
        ledger.ready += len(seqs)
        ledger.write(session)
    return [job_id in found for job_id in ids]


def forget(session: Session, queue: str, ids: Sequence[str]) -> list[bool]:
    found = _find(session, queue, ids)
    _remove(session, queue, list(found.values()))
    return [job_id in found for job_id in ids]


def prune(session: Session, queue: str, older_than: float, limit: int) -> int:
    before = session.now - older_than
    seqs = [seq for (seq,) in session.rows(OLD, queue=queue, before=before, limit=limit)]
    _remove(session, queue, seqs)
    return len(seqs)


def _remove(session: Session, queue: str, seqs: list[int]) -> None:
    ledger = Ledger.read(session, queue)
    if seqs and ledger is not None:
        session.run(DELETE_RECORDS, seqs=seqs)
        remove(session, ledger, seqs, End.GONE)
        ledger.failed -= len(seqs)
        ledger.write(session)


def _find(session: Session, queue: str, ids: Sequence[str]) -> dict[str, int]:
    """Return which of ``ids`` are of failed jobs, in the order asked, with their rows."""
    found = dict(session.packed(FAILED, queue=queue, ids=[*ids]))
    return {job_id: found[job_id] for job_id in ids if job_id in found}
