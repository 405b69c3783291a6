"""exchange: settle, promote what is due, reserve; in one transaction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, Float, Integer, String, literal_column, select, update

from queued.drivers.base import Exchange, Lane, RateLimit, Reservation, Settlement, State
from queued.drivers.brakes import whole
from queued.drivers.sql.ledger import Ledger
from queued.drivers.sql.owners import Owner, hold, remember
from queued.drivers.sql.promote import promote
from queued.drivers.sql.rows import reservation, select_reservations
from queued.drivers.sql.schema import (
    LANE_CODES,
    failed,
    in_lane,
    in_state,
    jobs,
    next_due,
    outbox,
    queues,
    state_code,
)
from queued.drivers.sql.session import Session, Statement
from queued.drivers.sql.sets import parameter
from queued.drivers.sql.settle import settle

_here = jobs.c.queue == parameter("queue", String)

_ready_in_lane = (_here, jobs.c.lane == parameter("lane"), in_state(State.READY))
_first = select(jobs.c.seq).where(*_ready_in_lane).order_by(jobs.c.rank).limit(parameter("want"))
_one = literal_column("1", Integer)

HEAD = Statement(select(jobs.c.rank).where(*_ready_in_lane).order_by(jobs.c.rank).limit(_one))
RESERVE = Statement(
    update(jobs)
    .where(jobs.c.seq.in_(_first))
    .values(
        state=state_code(State.RESERVED),
        owner=parameter("owner", String),
        fence=jobs.c.rank + parameter("offset"),
        reserved_at=parameter("now", Float),
    )
)
HIGHEST_FENCE = Statement(
    select(jobs.c.fence)
    .where(_here, jobs.c.owner == parameter("owner"), in_state(State.RESERVED))
    .order_by(jobs.c.fence.desc())
    .limit(_one)
)
BATCH = Statement(
    select_reservations.where(
        _here,
        jobs.c.owner == parameter("owner"),
        jobs.c.fence > parameter("fence"),
        in_state(State.RESERVED),
    ).order_by(jobs.c.fence)
)
_next_due = next_due(parameter("queue", String))
_hooks_due = select(failed.c.seq).where(
    failed.c.queue == parameter("queue"), failed.c.hook_at <= parameter("now", Float)
)


def _ready(lane: Lane) -> ColumnElement[bool]:
    return select(jobs.c.seq).where(_here, in_lane(lane), in_state(State.READY)).exists()


_to_forward = select(outbox.c.seq).where(outbox.c.source == parameter("queue"))
_paused_at = select(queues.c.paused_at).where(queues.c.queue == parameter("queue", String))
SIGNS = Statement(select(_next_due, _hooks_due.exists(), _ready(Lane.SOLO), _to_forward.exists()))
WORK = Statement(select(_ready(Lane.NORMAL), _next_due, _paused_at.scalar_subquery()))


class Wanted(NamedTuple):
    """What a worker asks for: see ``Driver.exchange``."""

    want: int
    nonce: int
    lease: float
    lane: Lane
    limit: RateLimit | None = None


def exchange(
    session: Session, queue: str, owner: str, settlements: Sequence[Settlement], wanted: Wanted
) -> Exchange | None:
    """Return None when jobs were wanted for a retired owner; the settlements stand all the same."""
    ledger = Ledger.read(session, queue)
    lost: list[str] = []
    above: int | None = None
    retired = False
    held_for = math.inf if ledger is not None and ledger.paused_at is not None else None
    if ledger is None:  # no job ever was in this queue: there is nothing to settle or to reserve
        lost = [settlement.id for settlement in settlements]
    elif settlements:
        lost = settle(session, ledger, owner, settlements)
    if wanted.want > 0:
        holder = hold(session, queue, owner, wanted.lease)
        retired = holder.retired_at is not None
        if ledger is not None and not retired:
            if ledger.paused_at is None:
                promote(session, ledger, wanted.want)
            above = _reserve(session, ledger, owner, holder, wanted)
            if wanted.limit is not None and held_for is None:
                tokens = wanted.limit.tokens(ledger.opens_at, session.now)
                held_for = wanted.limit.wait(tokens)
    if ledger is not None:
        ledger.write(session)
    session.commit()
    if retired:
        return None
    jobs = _reserved(session, queue, owner, above)
    due, hooks, suspects, to_forward = session.row(SIGNS, queue=queue, now=session.now)
    return Exchange(
        jobs,
        lost,
        None if due is None else max(due - session.now, 0.0),
        hooks_due=bool(hooks),
        suspects=bool(suspects) and held_for != math.inf,
        outbox=bool(to_forward),
        held_for=held_for,
    )


def _reserve(
    session: Session, ledger: Ledger, owner: str, holder: Owner, wanted: Wanted
) -> int | None:
    """Return the fence above which the owner's reservations are this call's; None: it has none."""
    if wanted.nonce and wanted.nonce < holder.nonce:
        return None  # a late copy of a call that was answered: nobody reads this answer
    if wanted.nonce and wanted.nonce == holder.nonce:
        return holder.fence
    queue, lane, above = ledger.queue, LANE_CODES[wanted.lane], ledger.fence
    if ledger.paused_at is not None:
        return None
    want = wanted.want
    if wanted.limit is not None:
        want = min(want, _tokens(session, ledger, wanted.limit))
    head = session.row(HEAD, queue=queue, lane=lane) if want else None
    if head is None:
        return None
    count = session.run(
        RESERVE,
        queue=queue,
        owner=owner,
        lane=lane,
        want=want,
        offset=above + 1 - head[0],  # ranks rise, so fences do, the first by one
        now=session.now,
    )
    ledger.fence = session.value(HIGHEST_FENCE, queue=queue, owner=owner)
    ledger.ready -= count
    ledger.reserved += count
    if wanted.limit is not None:
        left = wanted.limit.tokens(ledger.opens_at, session.now) - count
        ledger.store_tokens(session, wanted.limit.opens_at(left, session.now), wanted.limit.every)
    if wanted.nonce:
        remember(session, queue, owner, wanted.nonce, above)
    return above


def _tokens(session: Session, ledger: Ledger, limit: RateLimit) -> int:
    """Return how many jobs may be taken now."""
    if limit.is_debt(ledger.opens_at, session.now):
        ledger.store_tokens(session, limit.opens_at(0.0, session.now), limit.every)
    return whole(limit.tokens(ledger.opens_at, session.now))


def _reserved(session: Session, queue: str, owner: str, above: int | None) -> list[Reservation]:
    """Read what was reserved: without a lock, since only settlements could change it meanwhile."""
    if above is None:
        return []
    return [reservation(row) for row in session.rows(BATCH, queue=queue, owner=owner, fence=above)]


def look(session: Session, queue: str) -> tuple[bool, float | None, float]:
    """Return whether a job is ready for a normal worker, when the next is due, and in how long.

    While the queue is paused neither is of interest to anybody.
    """
    ready, due_at, paused_at = session.row(WORK, queue=queue)
    if paused_at is not None:
        return False, None, math.inf
    return bool(ready), due_at, math.inf if due_at is None else due_at - session.now
