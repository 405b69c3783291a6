"""ack, retry, release, fail: reserved → done, scheduled, ready or failed, each under its fence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Float, Integer, String, delete, func, insert, null, select, update

from queued.drivers.base import (
    SUSPECT_FROM,
    Ack,
    Counts,
    Fail,
    Lane,
    Release,
    Retry,
    Settlement,
    State,
)
from queued.drivers.sql.ledger import Ledger
from queued.drivers.sql.rows import COUNTS
from queued.drivers.sql.schema import LANE_CODES, STATE_CODES, failed, in_state, jobs, payloads
from queued.drivers.sql.session import Session, Statement
from queued.drivers.sql.sets import (
    Appended,
    Scalar,
    cut,
    given,
    members,
    packed,
    parameter,
    sliced,
)

HELD = Statement(
    packed(jobs.c.id, jobs.c.seq, jobs.c.fence, *COUNTS).where(
        jobs.c.queue == parameter("queue"),
        jobs.c.id.in_(members("ids")),
        jobs.c.owner == parameter("owner"),
        in_state(State.RESERVED),
    )
)
DELETE_JOBS = Statement(delete(jobs).where(jobs.c.seq.in_(members("seqs"))))
DELETE_PAYLOADS = Statement(delete(payloads).where(payloads.c.seq.in_(members("seqs"))))

_moved = given(
    "rows",
    seq=Integer,
    state=Integer,
    lane=Integer,
    rank=Integer,
    ready_at=Float,
    **dict.fromkeys(Counts._fields, Integer),
)
MOVE = Statement(
    update(jobs)
    .where(jobs.c.seq == _moved.c.seq)
    .values(
        state=_moved.c.state,
        lane=_moved.c.lane,
        rank=func.coalesce(_moved.c.rank, jobs.c.rank),
        ready_at=func.coalesce(_moved.c.ready_at, jobs.c.ready_at),
        owner=null(),
        reserved_at=null(),
        **{name: _moved.c[name] for name in Counts._fields},
    )
)
_note = given("rows", seq=Integer, start=Integer, length=Integer)
APPEND_NOTES = Statement(
    update(payloads)
    .where(payloads.c.seq == _note.c.seq)
    .values(history=Appended(payloads.c.history, cut(_note)))
)
_record = given("rows", seq=Integer, id=String, hook_at=Float, start=Integer, length=Integer)
INSERT_RECORDS = Statement(
    insert(failed).from_select(
        ["seq", "id", "queue", "failed_at", "hook_at", "record"],
        select(
            _record.c.seq,
            _record.c.id,
            parameter("queue", String),
            parameter("now", Float),
            _record.c.hook_at,
            cut(_record),
        ),
    )
)


@dataclass(slots=True)
class _Moves:
    """What a batch of settlements comes to, before it is written."""

    acked: list[int] = field(default_factory=list)
    moved: list[list[Scalar]] = field(default_factory=list)
    notes: list[tuple[list[Scalar], bytes]] = field(default_factory=list)
    records: list[tuple[list[Scalar], bytes]] = field(default_factory=list)


def settle(
    session: Session, queue: str, owner: str, settlements: Sequence[Settlement], ledger: Ledger
) -> list[str]:
    """Apply what names a reservation that ``owner`` holds; return the ids of the others."""
    ids = list({settlement.id for settlement in settlements})
    rows = session.packed(HELD, queue=queue, owner=owner, ids=ids)
    held = {job_id: (seq, fence, Counts(*counts)) for job_id, seq, fence, *counts in rows}
    moves, lost = _Moves(), []
    for settlement in settlements:
        job = held.get(settlement.id)
        if job is None or job[1] != settlement.fence:
            lost.append(settlement.id)
            continue
        seq, _, counts = held.pop(settlement.id)
        ledger.reserved -= 1
        if type(settlement) is Ack:
            moves.acked.append(seq)
        else:
            _move(settlement, seq, counts, session.now, ledger, moves)
    _write(session, queue, moves)
    return lost


def _move(
    settlement: Retry | Release | Fail,
    seq: int,
    counts: Counts,
    now: float,
    ledger: Ledger,
    moves: _Moves,
) -> None:
    counts = counts.charged(settlement.charge)
    rank = ready_at = None  # as they were
    match settlement:
        case Retry(delay=delay) if delay > 0:
            state, ready_at = State.SCHEDULED, now + delay
            ledger.scheduled += 1
        case Retry():
            state, rank, ready_at = State.READY, ledger.take_ranks(1), now
            ledger.ready += 1
        case Release():
            state = State.READY
            ledger.ready += 1
        case Fail(id=job_id, record=record, hook=hook):
            state = State.FAILED
            ledger.failed += 1
            moves.records.append(([seq, job_id, None if hook is None else now + hook], record))
    lane = LANE_CODES[Lane.SOLO if counts.suspicion >= SUSPECT_FROM else Lane.NORMAL]
    moves.moved.append([seq, STATE_CODES[state], lane, rank, ready_at, *counts])
    if settlement.note:
        moves.notes.append(([seq], settlement.note))


def _write(session: Session, queue: str, moves: _Moves) -> None:
    if moves.acked:
        remove(session, moves.acked)
    if moves.moved:
        session.run(MOVE, rows=moves.moved)
    if moves.notes:
        session.run_each(APPEND_NOTES, sliced(moves.notes))
    if moves.records:
        stamp: dict[str, Any] = {"queue": queue, "now": session.now}
        session.run_each(INSERT_RECORDS, ({**stamp, **each} for each in sliced(moves.records)))


def remove(session: Session, seqs: list[int]) -> None:
    """Remove jobs and their payloads."""
    session.run(DELETE_JOBS, seqs=seqs)
    session.run(DELETE_PAYLOADS, seqs=seqs)
