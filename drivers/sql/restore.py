"""restore: → failed, for jobs that failed elsewhere; idempotent while the id exists."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import BigInteger, Float, Integer, String, insert, literal_column, select, update

from queued.drivers.base import Counts, FailedJob, Lane, NewJob, State, Unique
from queued.drivers.sql.enqueue import EXISTING, INSERT_SEQUELS
from queued.drivers.sql.ledger import Ledger
from queued.drivers.sql.schema import failed, jobs, lane_code, payloads, state_code
from queued.drivers.sql.session import Session, Statement
from queued.drivers.sql.sets import Scalar, among, cut, given, packed, parameter, sliced
from queued.drivers.sql.unique import note_keys

_job = given("rows", id=String, enqueued_at=Float, **dict.fromkeys(Counts._fields, Integer))
_bytes = given("rows", seq=BigInteger, start=Integer, length=Integer)
_record = given(
    "rows",
    seq=BigInteger,
    id=String,
    failed_at=Float,
    hook_at=Float,
    start=Integer,
    length=Integer,
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
            state_code(State.FAILED),
            lane_code(Lane.NORMAL),
            literal_column("0", Integer),
            _job.c.enqueued_at,
            _job.c.enqueued_at,
            *(_job.c[name] for name in Counts._fields),
        ),
    )
)
SEQS = Statement(
    packed(jobs.c.id, jobs.c.seq).where(jobs.c.queue == parameter("queue"), among(jobs.c.id, "ids"))
)
INSERT_PAYLOADS = Statement(
    insert(payloads).from_select(["seq", "payload"], select(_bytes.c.seq, cut(_bytes)))
)
SET_HISTORIES = Statement(
    update(payloads).where(payloads.c.seq == _bytes.c.seq).values(history=cut(_bytes))
)
INSERT_RECORDS = Statement(
    insert(failed).from_select(
        ["seq", "id", "queue", "failed_at", "hook_at", "record"],
        select(
            _record.c.seq,
            _record.c.id,
            parameter("queue", String),
            _record.c.failed_at,
            _record.c.hook_at,
            cut(_record),
        ),
    )
)


def restore(session: Session, queue: str, given_: Sequence[FailedJob]) -> list[bool]:
    ledger = Ledger.read(session, queue) or Ledger(queue)
    ids = list(dict.fromkeys(job.id for job in given_))
    existing = {job_id for (job_id,) in session.packed(EXISTING, queue=queue, ids=ids)}
    absent: dict[str, FailedJob] = {}
    answer: list[bool] = []
    for job in given_:
        answer.append(job.id not in existing)
        existing.add(job.id)
        if answer[-1]:
            absent[job.id] = job
    if absent:
        _insert(session, ledger, absent)
        ledger.failed += len(absent)
        ledger.enqueued_total += len(absent)
        ledger.write(session)
    return answer


def _insert(session: Session, ledger: Ledger, absent: dict[str, FailedJob]) -> None:
    queue = ledger.queue
    rows: list[list[Scalar]] = [[job.id, job.enqueued_at, *job.counts] for job in absent.values()]
    session.run(INSERT_JOBS, queue=queue, rows=rows)
    seqs = dict(session.packed(SEQS, queue=queue, ids=[*absent]))
    for batch in sliced(([seqs[job.id]], job.payload) for job in absent.values()):
        session.run(INSERT_PAYLOADS, **batch)
    for batch in sliced(([seqs[job.id]], job.history) for job in absent.values() if job.history):
        session.run(SET_HISTORIES, **batch)
    for batch in sliced(
        (
            [seqs[job.id], job.id, job.failed_at, session.now if job.hook_pending else None],
            job.record,
        )
        for job in absent.values()
    ):
        session.run(INSERT_RECORDS, queue=queue, **batch)
    followed = [([job.id], job.sequel) for job in absent.values() if job.sequel]
    for batch in sliced(followed):
        session.run(INSERT_SEQUELS, queue=queue, **batch)
    ledger.sequels = ledger.sequels or bool(followed)
    named = [
        NewJob(one.id, b"", unique=Unique(one.unique)) for one in absent.values() if one.unique
    ]
    note_keys(session, ledger, named)
