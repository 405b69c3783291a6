"""ack, retry, release, fail: reserved → done, scheduled, ready or failed, each under its fence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import (
    BigInteger,
    Float,
    Integer,
    String,
    delete,
    func,
    insert,
    null,
    select,
    update,
)

from queued.drivers.base import (
    SUSPECT_FROM,
    Ack,
    Charge,
    Counts,
    Fail,
    Lane,
    Release,
    Retry,
    Settlement,
    State,
)
from queued.drivers.sequel import End
from queued.drivers.sql.ledger import Ledger
from queued.drivers.sql.rows import COUNTS
from queued.drivers.sql.schema import LANE_CODES, STATE_CODES, failed, jobs, payloads
from queued.drivers.sql.sequels import follow
from queued.drivers.sql.session import Session, Statement
from queued.drivers.sql.sets import (
    Appended,
    Scalar,
    among,
    cut,
    given,
    packed,
    parameter,
    sliced,
)
from queued.drivers.sql.unique import leave, let_go

NAMED = Statement(  # by id alone: a planner that sees the owner goes through all that it holds
    packed(jobs.c.id, jobs.c.owner, jobs.c.fence, jobs.c.seq, *COUNTS).where(
        jobs.c.queue == parameter("queue"), among(jobs.c.id, "ids")
    )
)
DELETE_JOBS = Statement(delete(jobs).where(among(jobs.c.seq, "seqs", BigInteger)))
DELETE_PAYLOADS = Statement(delete(payloads).where(among(payloads.c.seq, "seqs", BigInteger)))

_moved = given(
    "rows",
    seq=BigInteger,
    state=Integer,
    lane=Integer,
    rank=BigInteger,
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
_note = given("rows", seq=BigInteger, start=Integer, length=Integer)
APPEND_NOTES = Statement(
    update(payloads)
    .where(payloads.c.seq == _note.c.seq)
    .values(history=Appended(payloads.c.history, cut(_note)))
)
_record = given("rows", seq=BigInteger, id=String, hook_at=Float, start=Integer, length=Integer)
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


def settle(
    session: Session, ledger: Ledger, owner: str, settlements: Sequence[Settlement]
) -> list[str]:
    """Apply what names a reservation that ``owner`` holds; return the ids of the others."""
    ids = list({settlement.id for settlement in settlements})
    held = {row[0]: row for row in session.packed(NAMED, queue=ledger.queue, ids=ids)}
    moves, lost = _Moves(ledger, session.now), []
    for settlement in settlements:
        row = held.get(settlement.id)
        if row is None or row[1:3] != [owner, settlement.fence]:
            lost.append(settlement.id)
            continue
        _, _, _, seq, *counts = held.pop(settlement.id)
        if isinstance(settlement, Ack):
            moves.acked.append(seq)
        else:
            moves.add(settlement, seq, Counts(*counts))
        ledger.reserved -= 1
    moves.write(session)
    return lost


@dataclass(slots=True)
class _Moves:
    """What a batch of settlements comes to, collected to be written in sets."""

    ledger: Ledger
    now: float
    acked: list[int] = field(default_factory=list)
    moved: list[list[Scalar]] = field(default_factory=list)
    notes: list[tuple[list[Scalar], bytes]] = field(default_factory=list)
    records: list[tuple[list[Scalar], bytes]] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    not_run: int = 0

    def add(self, settlement: Retry | Release | Fail, seq: int, counts: Counts) -> None:
        counts = counts.charged(settlement.charge)
        rank = ready_at = None  # as they were
        match settlement:
            case Retry(delay=delay) if delay > 0:
                state, ready_at = State.SCHEDULED, self.now + delay
                self.ledger.schedule(1, ready_at)
            case Retry():
                state, rank, ready_at = State.READY, self.ledger.take_ranks(1), self.now
                self.ledger.ready += 1
            case Release(charge=charge):
                state = State.READY
                self.ledger.ready += 1
                self.not_run += charge is Charge.NONE
            case Fail(id=job_id, record=record, hook=hook):
                state = State.FAILED
                hook_at = None if hook is None else self.now + hook
                self.records.append(([seq, job_id, hook_at], record))
                self.failed.append(seq)
                self.ledger.failed += 1
        lane = LANE_CODES[Lane.SOLO if counts.suspicion >= SUSPECT_FROM else Lane.NORMAL]
        self.moved.append([seq, STATE_CODES[state], lane, rank, ready_at, *counts])
        if settlement.note:
            self.notes.append(([seq], settlement.note))

    def write(self, session: Session) -> None:
        if self.acked:
            remove(session, self.ledger, self.acked, End.DONE)
        let_go(session, self.ledger, self.failed)
        if self.moved:
            session.run(MOVE, rows=self.moved)
        self._give_tokens_back(session)
        for notes in sliced(self.notes):
            session.run(APPEND_NOTES, **notes)
        for records in sliced(self.records):
            session.run(INSERT_RECORDS, queue=self.ledger.queue, now=self.now, **records)
        if self.failed:
            follow(session, self.ledger, self.failed, End.FAILED)

    def _give_tokens_back(self, session: Session) -> None:
        opens_at, every = self.ledger.opens_at, self.ledger.token_seconds
        if self.not_run and opens_at is not None and every is not None:
            self.ledger.store_tokens(session, opens_at - self.not_run * every, every)


def remove(session: Session, ledger: Ledger, seqs: list[int], end: End) -> None:
    """Remove jobs, their payloads and what they hold, and carry out their sequels."""
    leave(session, ledger, seqs)
    session.run(DELETE_JOBS, seqs=seqs)
    session.run(DELETE_PAYLOADS, seqs=seqs)
    follow(session, ledger, seqs, end)
