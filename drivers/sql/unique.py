"""What jobs hold so that no other of the same name is enqueued: taken, looked up, given up.

A lock that says until when is over then, and is swept out later. One that does not is its job's for
as long as that is there and has not failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import BigInteger, Float, Integer, String, delete, insert, literal_column, select

from queued.drivers.base import MAX_BATCH, NewJob, State, Unique
from queued.drivers.sql.ledger import Ledger
from queued.drivers.sql.schema import STATES, jobs, keys, locks
from queued.drivers.sql.session import Session, Statement
from queued.drivers.sql.sets import Packed, Scalar, among, given, parameter

_here = locks.c.queue == parameter("queue", String)
_lock = given("rows", held=String, id=String, until=Float)
_key = given("rows", id=String, held=String, lasting=Integer)
_its_seq = (
    select(jobs.c.seq)
    .where(jobs.c.queue == parameter("queue"), jobs.c.id == _key.c.id)
    .scalar_subquery()
)
_over = (
    select(locks.c.name)
    .where(_here, locks.c.until <= parameter("now", Float))
    .limit(literal_column(str(MAX_BATCH), Integer))
)

HELD = Statement(
    select(Packed(locks.c.name, locks.c.id, locks.c.until, jobs.c.state))
    .select_from(locks)
    .outerjoin(jobs, (jobs.c.id == locks.c.id) & (jobs.c.queue == locks.c.queue))
    .where(_here, among(locks.c.name, "names"))
)
SWEEP = Statement(delete(locks).where(_here, locks.c.name.in_(_over)))
FREE = Statement(delete(locks).where(_here, among(locks.c.name, "names")))
INSERT_LOCKS = Statement(
    insert(locks).from_select(
        ["queue", "name", "id", "until"],
        select(parameter("queue", String), _lock.c.held, _lock.c.id, _lock.c.until),
    )
)
INSERT_KEYS = Statement(
    insert(keys).from_select(
        ["seq", "name", "lasting"], select(_its_seq, _key.c.held, _key.c.lasting)
    )
)
KEYS = Statement(
    select(Packed(keys.c.seq, jobs.c.id, keys.c.name, keys.c.lasting))
    .select_from(keys)
    .join(jobs, jobs.c.seq == keys.c.seq)
    .where(among(keys.c.seq, "seqs", BigInteger))
)
LET_GO = Statement(  # a job holds one name at most, so that both sets together name its lock
    delete(locks).where(
        _here, among(locks.c.name, "names"), among(locks.c.id, "ids"), locks.c.until.is_(None)
    )
)
DELETE_KEYS = Statement(delete(keys).where(among(keys.c.seq, "seqs", BigInteger)))


class Locks:
    """The names that some jobs want: who holds each, by one look, and by what is taken since."""

    def __init__(self, session: Session, queue: str, names: Iterable[str]) -> None:
        self._session = session
        self._queue = queue
        self._holders: dict[str, str] = {}
        self._left: list[str] = []
        self._taken: list[list[Scalar]] = []
        rows = session.packed(HELD, queue=queue, names=list(dict.fromkeys(names)))
        for name, job_id, until, state in rows:
            if until is None:
                held = state is not None and STATES[state] is not State.FAILED
            else:
                held = until > session.now
            if held:
                self._holders[name] = job_id
            else:
                self._left.append(name)

    def holder(self, name: str) -> str | None:
        """Return the id of the job that holds a name."""
        return self._holders.get(name)

    def take(self, job_id: str, unique: Unique) -> None:
        until = None if unique.seconds is None else self._session.now + unique.seconds
        self._holders[unique.name] = job_id
        self._taken.append([unique.name, job_id, until])

    def write(self) -> None:
        if self._taken:
            self._session.run(SWEEP, queue=self._queue, now=self._session.now)
            if self._left:
                self._session.run(FREE, queue=self._queue, names=self._left)
            self._session.run(INSERT_LOCKS, queue=self._queue, rows=self._taken)


def note_keys(session: Session, ledger: Ledger, new: Sequence[NewJob]) -> None:
    """Keep the names of the new jobs that have one."""
    rows: list[list[Scalar]] = [
        [job.id, job.unique.name, int(job.unique.seconds is not None)] for job in new if job.unique
    ]
    if rows:
        session.run(INSERT_KEYS, queue=ledger.queue, rows=rows)
        ledger.keyed += len(rows)


def let_go(session: Session, ledger: Ledger, seqs: list[int]) -> None:
    """End what jobs hold until they are done. Mostly no job of a queue holds anything."""
    if ledger.keyed and seqs:
        rows = session.packed(KEYS, seqs=seqs)
        held = [(job_id, name) for _, job_id, name, lasting in rows if not lasting]
        if held:
            ids, names = map(list, zip(*held, strict=True))
            session.run(LET_GO, queue=ledger.queue, names=names, ids=ids)


def leave(session: Session, ledger: Ledger, seqs: list[int]) -> None:
    """The same of jobs that are about to be removed."""
    if ledger.keyed and seqs:
        let_go(session, ledger, seqs)
        ledger.keyed -= session.run(DELETE_KEYS, seqs=seqs)


def taken_again(session: Session, ledger: Ledger, seqs: Sequence[int]) -> set[int]:
    """Take what failed jobs held until they failed; return those whose name another one holds."""
    rows = session.packed(KEYS, seqs=[*seqs]) if ledger.keyed else []
    found = {seq: (job_id, name) for seq, job_id, name, lasting in rows if not lasting}
    if not found:
        return set()
    refused = set()
    held = Locks(session, ledger.queue, (name for _, name in found.values()))
    for seq in seqs:
        if seq in found:
            job_id, name = found[seq]
            if held.holder(name) is None:
                held.take(job_id, Unique(name))
            else:
                refused.add(seq)
    held.write()
    return refused
