"""Who may reserve: registered by a first reserve, renewed, retired, forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Float, Integer, String, delete, insert, literal_column, or_, select, update

from queued.drivers.base import Reservation, State
from queued.drivers.sql.rows import reservation, select_reservations
from queued.drivers.sql.schema import in_state, jobs, owners
from queued.drivers.sql.session import Session, Statement
from queued.drivers.sql.sets import among, given, packed, parameter

FORGET_AFTER = 3600.0
"""Seconds after which an owner that is retired, or gone, and holds nothing is forgotten."""

_here = owners.c.queue == parameter("queue")
_this = owners.c.owner == parameter("owner")
_these = among(owners.c.owner, "names")
_holds = (
    select(jobs.c.seq)
    .where(
        jobs.c.queue == parameter("queue"),
        jobs.c.owner == owners.c.owner,
        in_state(State.RESERVED),
    )
    .exists()
)
_new = given("rows", owner=String)
_zero = literal_column("0", Integer)

READ = Statement(
    select(owners.c.lease_until, owners.c.retired_at, owners.c.nonce, owners.c.fence).where(
        _here, _this
    )
)
RETIRED = Statement(packed(owners.c.owner, owners.c.retired_at).where(_here, _these))
REGISTER = Statement(
    insert(owners).from_select(
        ["queue", "owner", "lease_until", "nonce", "fence"],
        select(
            parameter("queue", String),
            _new.c.owner,
            parameter("lease_until", Float),
            _zero,
            _zero,
        ),
    )
)
REMEMBER = Statement(
    update(owners).where(_here, _this).values(nonce=parameter("nonce"), fence=parameter("fence"))
)
RENEW = Statement(
    update(owners)
    .where(_here, _these, owners.c.retired_at.is_(None))
    .values(lease_until=parameter("until", Float))
)
RETIRE = Statement(
    update(owners)
    .where(_here, _this)
    .values(lease_until=parameter("until", Float), retired_at=parameter("now", Float))
)
FORGET = Statement(
    delete(owners).where(
        _here,
        or_(
            owners.c.retired_at < parameter("before", Float),
            owners.c.lease_until < parameter("before", Float),
        ),
        ~_holds,
    )
)
HELD = Statement(
    select_reservations.where(
        jobs.c.queue == parameter("queue"),
        jobs.c.owner == parameter("owner"),
        in_state(State.RESERVED),
    ).order_by(jobs.c.fence)
)
FENCES = Statement(
    packed(jobs.c.id, jobs.c.fence).where(
        jobs.c.queue == parameter("queue"),
        jobs.c.owner == parameter("owner"),
        in_state(State.RESERVED),
    )
)
LISTED = Statement(
    select(owners.c.owner, owners.c.lease_until, owners.c.retired_at).where(
        _here, or_(owners.c.lease_until > parameter("now", Float), _holds)
    )
)


class Owner(NamedTuple):
    """An owner's row."""

    lease_until: float
    retired_at: float | None
    nonce: int
    """Of the exchange that last gave it jobs,"""
    fence: int
    """whose fences are above this one."""


def hold(session: Session, queue: str, owner: str, lease: float) -> Owner:
    """Return an owner; one that is new is registered for ``lease`` seconds."""
    row = session.row(READ, queue=queue, owner=owner)
    return _register(session, queue, owner, session.now + lease) if row is None else Owner(*row)


def _register(session: Session, queue: str, owner: str, lease_until: float) -> Owner:
    session.run(REGISTER, queue=queue, rows=[[owner]], lease_until=lease_until)
    return Owner(lease_until, None, 0, 0)


def remember(session: Session, queue: str, owner: str, nonce: int, fence: int) -> None:
    """Note what an owner was given, for a repetition of the call."""
    session.run(REMEMBER, queue=queue, owner=owner, nonce=nonce, fence=fence)


def renew(session: Session, queue: str, names: Sequence[str], lease: float) -> list[str]:
    until = session.now + lease
    retired_at = dict(session.packed(RETIRED, queue=queue, names=[*names]))
    session.run(RENEW, queue=queue, names=[*names], until=until)
    new = [[name] for name in dict.fromkeys(names) if name not in retired_at]
    if new:
        session.run(REGISTER, queue=queue, rows=new, lease_until=until)
    session.run(FORGET, queue=queue, before=session.now - FORGET_AFTER)
    return [name for name in names if retired_at.get(name) is not None]


def retire(session: Session, queue: str, owner: str, *, only_expired: bool) -> list[Reservation]:
    now = session.now
    found = hold(session, queue, owner, 0.0)
    if found.retired_at is None:
        if only_expired and found.lease_until > now:
            return []
        until = min(found.lease_until, now)
        session.run(RETIRE, queue=queue, owner=owner, until=until, now=now)
    session.commit()
    return [reservation(row) for row in session.rows(HELD, queue=queue, owner=owner)]


def held(session: Session, queue: str, owner: str) -> dict[str, int]:
    return dict(session.packed(FENCES, queue=queue, owner=owner))


def list_owners(session: Session, queue: str) -> dict[str, float]:
    left: dict[str, float] = {}
    for owner, lease_until, retired_at in session.rows(LISTED, queue=queue, now=session.now):
        seconds = lease_until - session.now
        left[owner] = seconds if retired_at is None else min(seconds, -0.001)
    return left
