"""enqueue: → ready, or scheduled when there is a delay; idempotent while the id exists.

A job is refused whose name another one holds (``Unique``).
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import BigInteger, Float, Integer, String, insert, literal_column, select

from queued.drivers.base import Counts, Enqueued, Lane, NewJob, State
from queued.drivers.sql.ledger import Ledger
from queued.drivers.sql.schema import STATE_CODES, jobs, lane_code, payloads, sequels
from queued.drivers.sql.session import Session, Statement
from queued.drivers.sql.sets import among, cut, given, packed, parameter, sliced
from queued.drivers.sql.unique import Locks, note_keys

_job = given("rows", id=String, state=Integer, rank=BigInteger, ready_at=Float)
_payload = given("rows", id=String, start=Integer, length=Integer)
_its_seq = (
    select(jobs.c.seq)
    .where(jobs.c.queue == parameter("queue"), jobs.c.id == _payload.c.id)
    .scalar_subquery()
)
_zero = literal_column("0", Integer)

EXISTING = Statement(
    packed(jobs.c.id).where(jobs.c.queue == parameter("queue"), among(jobs.c.id, "ids"))
)
INSERT_JOBS = Statement(
    insert(jobs).from_select(
        [
            *("id", "queue", "state", "lane", "rank", "enqueued_at", "ready_at"),
            *Counts._fields,
        ],
        select(
            _job.c.id,
            parameter("queue", String),
            _job.c.state,
            lane_code(Lane.NORMAL),
            _job.c.rank,
            parameter("now", Float),
            _job.c.ready_at,
            *(_zero for _ in Counts._fields),
        ),
    )
)
INSERT_PAYLOADS = Statement(
    insert(payloads).from_select(
        ["seq", "payload"],
        select(_its_seq, cut(_payload)).select_from(_payload),
    )
)
INSERT_SEQUELS = Statement(
    insert(sequels).from_select(
        ["seq", "queue", "sequel"],
        select(_its_seq, parameter("queue", String), cut(_payload)).select_from(_payload),
    )
)


def enqueue(session: Session, queue: str, new: Sequence[NewJob]) -> list[Enqueued]:
    ledger = Ledger.read(session, queue) or Ledger(queue)
    answer = put(session, ledger, new)
    if answer:
        ledger.write(session)
    return answer


def put(session: Session, ledger: Ledger, new: Sequence[NewJob]) -> list[Enqueued]:
    """Enqueue within a verb that has read the queue's ledger and will write it."""
    queue = ledger.queue
    ids = list(dict.fromkeys(job.id for job in new))
    existing = {job_id for (job_id,) in session.packed(EXISTING, queue=queue, ids=ids)}
    names = [job.unique.name for job in new if job.unique]
    locks = Locks(session, queue, names) if names else None
    absent: list[NewJob] = []
    answer: list[Enqueued] = []
    for job in new:
        if job.id in existing:
            answer.append(False)
            continue
        if job.unique and locks:
            holder = locks.holder(job.unique.name)
            if holder is not None:
                answer.append(holder)
                ledger.refused_total += 1
                continue
            locks.take(job.id, job.unique)
        answer.append(True)
        existing.add(job.id)
        absent.append(job)
    if absent:
        _insert(session, ledger, absent)
    if locks:
        locks.write()
        note_keys(session, ledger, absent)
    return answer


def _insert(session: Session, ledger: Ledger, absent: Sequence[NewJob]) -> None:
    queue = ledger.queue
    ready, scheduled = STATE_CODES[State.READY], STATE_CODES[State.SCHEDULED]
    now = session.now
    rank = ledger.take_ranks(len(absent))
    delays = [max(job.delay, 0.0) for job in absent]
    rows = [
        [job.id, scheduled if delay else ready, rank + n, now + delay]
        for n, (job, delay) in enumerate(zip(absent, delays, strict=True))
    ]
    session.run(INSERT_JOBS, queue=queue, now=now, rows=rows)
    for payloads_ in sliced(([job.id], job.payload) for job in absent):
        session.run(INSERT_PAYLOADS, queue=queue, **payloads_)
    followed = [([job.id], job.sequel) for job in absent if job.sequel]
    for sequels_ in sliced(followed):
        session.run(INSERT_SEQUELS, queue=queue, **sequels_)
    ledger.sequels = ledger.sequels or bool(followed)
    waiting = [delay for delay in delays if delay]
    if waiting:
        ledger.schedule(len(waiting), now + min(waiting))
    ledger.ready += len(absent) - len(waiting)
    ledger.enqueued_total += len(absent)
