"""The batches: created with all their members, and looked at."""

from __future__ import annotations

from sqlalchemy import (
    Float,
    Integer,
    LargeBinary,
    String,
    delete,
    insert,
    literal_column,
    select,
)

from queued.drivers.sequel import (
    KEEP_BATCH,
    MAX_FAILED_IDS,
    Batch,
    End,
    NewBatch,
    Parcel,
    Sequel,
)
from queued.drivers.sql.ledger import Ledger
from queued.drivers.sql.schema import END_CODES, batches, members
from queued.drivers.sql.sequels import Mail
from queued.drivers.sql.session import Session, Statement
from queued.drivers.sql.sets import Scalar, given, parameter

_this = (batches.c.queue == parameter("queue"), batches.c.batch == parameter("batch"))
_its = (members.c.queue == parameter("queue"), members.c.batch == parameter("batch"))
_old = (batches.c.queue == parameter("queue"), batches.c.finished_at < parameter("before", Float))
_member = given("rows", member=String, ended=Integer)
_zero = literal_column("0", Integer)
_one = literal_column("1", Integer)
_progress = select(
    *(batches.c.queue, batches.c.total, batches.c.done, batches.c.failed, batches.c.gone),
    *(batches.c.created_at, batches.c.finished_at),
)

EXISTS = Statement(select(batches.c.batch).where(*_this))
CREATE = Statement(
    insert(batches).values(
        queue=parameter("queue"),
        batch=parameter("batch"),
        total=parameter("total"),
        done=_zero,
        failed=_zero,
        gone=_zero,
        created_at=parameter("now"),
        then_job=parameter("then_job", LargeBinary),
        catch_job=parameter("catch_job", LargeBinary),
        finally_job=parameter("finally_job", LargeBinary),
    )
)
ADD_MEMBERS = Statement(
    insert(members).from_select(
        ["queue", "batch", "member", "ended"],
        select(
            parameter("queue", String),
            parameter("batch", String),
            _member.c.member,
            _member.c.ended,
        ),
    )
)
DROP_OLD_MEMBERS = Statement(
    delete(members).where(
        members.c.queue == parameter("queue"),
        members.c.batch.in_(select(batches.c.batch).where(*_old)),
    )
)
DROP_OLD = Statement(delete(batches).where(*_old))
_named = batches.c.batch == parameter("batch")
FIND = Statement(_progress.where(_named).order_by(batches.c.queue).limit(_one))
FIND_IN_QUEUE = Statement(_progress.where(*_this))
FAILED = Statement(
    select(members.c.member)
    .where(*_its, members.c.ended == literal_column(str(END_CODES[End.FAILED]), Integer))
    .order_by(members.c.member)
    .limit(parameter("limit"))
)


def create(session: Session, queue: str, new: NewBatch) -> bool:
    before = session.now - KEEP_BATCH
    session.run(DROP_OLD_MEMBERS, queue=queue, before=before)
    session.run(DROP_OLD, queue=queue, before=before)
    if session.row(EXISTS, queue=queue, batch=new.id):
        return False
    named = {"then_job": new.then, "catch_job": new.catch, "finally_job": new.finally_}
    callbacks = {name: one.packed() if one else None for name, one in named.items()}
    total = len(new.members)
    session.run(CREATE, queue=queue, batch=new.id, total=total, now=session.now, **callbacks)
    rows: list[list[Scalar]] = [[_member_of(parcel), None] for parcel in new.members]
    session.run(ADD_MEMBERS, queue=queue, batch=new.id, rows=rows)
    ledger = Ledger.read(session, queue) or Ledger(queue)
    mail = Mail(session, ledger)
    for parcel in new.members:
        mail.send(parcel)
    mail.close()
    ledger.write(session)
    return True


def _member_of(parcel: Parcel) -> str:
    member = Sequel.of(parcel.job.sequel).member
    assert member is not None
    return member.id


def find(session: Session, batch: str, queue: str | None) -> Batch | None:
    if queue is None:
        row = session.row(FIND, batch=batch)
    else:
        row = session.row(FIND_IN_QUEUE, batch=batch, queue=queue)
    if row is None:
        return None
    home, total, done, failed, gone, created_at, finished_at = row
    failures = session.rows(FAILED, queue=home, batch=batch, limit=MAX_FAILED_IDS)
    return Batch(
        *(batch, home, total, done, failed, gone),
        *(created_at, finished_at, tuple(member for (member,) in failures)),
    )
