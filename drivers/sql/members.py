"""How a batch learns that its members have ended, and when that makes its callbacks due."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Float, Integer, String, delete, func, null, select, update

from queued.drivers.sequel import End, Parcel, Tally, counts_anew
from queued.drivers.sql.schema import END_CODES, ENDS, batches, members
from queued.drivers.sql.session import Session, Statement
from queued.drivers.sql.sets import Scalar, among, given, packed, parameter

_this = (batches.c.queue == parameter("queue"), batches.c.batch == parameter("batch"))
_its = (members.c.queue == parameter("queue"), members.c.batch == parameter("batch"))
_member = given("rows", member=String, ended=Integer)

COUNTS = Statement(
    select(
        *(batches.c.total, batches.c.done, batches.c.failed, batches.c.gone),
        *(batches.c.then_job, batches.c.catch_job, batches.c.finally_job),
    ).where(*_this)
)
ENDED = Statement(
    packed(members.c.member, members.c.ended).where(*_its, among(members.c.member, "ids"))
)
END_MEMBERS = Statement(
    update(members).where(*_its, members.c.member == _member.c.member).values(ended=_member.c.ended)
)
COUNT = Statement(
    update(batches)
    .where(*_this)
    .values(done=parameter("done"), failed=parameter("failed"), gone=parameter("gone"))
)
FINISH = Statement(
    update(batches)
    .where(*_this)
    .values(finished_at=func.coalesce(batches.c.finished_at, parameter("now", Float)))
)
SENT = {
    name: Statement(update(batches).where(*_this).values({f"{name}_job": null()}))
    for name in ("then", "catch", "finally")
}
DROP_MEMBERS = Statement(delete(members).where(*_its))


def count_ends(
    session: Session, queue: str, batch: str, ends: Sequence[tuple[str, End]]
) -> Iterator[Parcel]:
    """Note how members of a batch at home here have ended; yield the callbacks that are due."""
    row = session.row(COUNTS, queue=queue, batch=batch)
    if row is None:
        return  # it was over long ago
    ids = list({member for member, _ in ends})
    known = session.packed(ENDED, queue=queue, batch=batch, ids=ids)
    was = {member: None if code is None else ENDS[code] for member, code in known}
    ends = [(member, end) for member, end in ends if member in was]  # else all are done
    due = ["catch"] if any(end is End.FAILED for _, end in ends) else []
    tally, changed = _counted(Tally(*row[:4]), was, ends)
    if changed:
        counts = {"done": tally.done, "failed": tally.failed, "gone": tally.gone}
        session.run(COUNT, queue=queue, batch=batch, **counts)
        rows: list[list[Scalar]] = [[member, END_CODES[end]] for member, end in changed.items()]
        session.run(END_MEMBERS, queue=queue, batch=batch, rows=rows)
        if tally.all_done:
            due.append("then")
            session.run(DROP_MEMBERS, queue=queue, batch=batch)
        if tally.ended:
            due.append("finally")
            session.run(FINISH, queue=queue, batch=batch, now=session.now)
    callbacks = dict(zip(("then", "catch", "finally"), row[4:], strict=True))
    for name in due:
        if callbacks[name] is not None:  # not sent before
            session.run(SENT[name], queue=queue, batch=batch)
            yield Parcel.of(bytes(callbacks[name]))


def _counted(
    tally: Tally, was: dict[str, End | None], ends: Sequence[tuple[str, End]]
) -> tuple[Tally, dict[str, End]]:
    """Return the counts after some ends, and the members of which they change anything."""
    changed: dict[str, End] = {}
    for member, end in ends:
        if counts_anew(was[member], end):
            tally = tally.moved(was[member], end)
            was[member] = changed[member] = end
    return tally, changed
