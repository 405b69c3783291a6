"""How stored rows are read back as the contract's values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, select

from queued.drivers.base import Counts, FailedJob, JobInfo, Reservation, State
from queued.drivers.sql.schema import STATES, failed, jobs, keys, payloads, sequels

COUNTS = tuple(jobs.c[name] for name in Counts._fields)

select_reservations: Select[Any] = select(
    jobs.c.id,
    payloads.c.payload,
    jobs.c.fence,
    jobs.c.enqueued_at,
    jobs.c.ready_at,
    jobs.c.reserved_at,
    payloads.c.history,
    *COUNTS,
).join_from(jobs, payloads, payloads.c.seq == jobs.c.seq)

_failure = (
    jobs.c.id,
    jobs.c.queue,
    payloads.c.payload,
    failed.c.record,
    failed.c.failed_at,
    jobs.c.enqueued_at,
    payloads.c.history,
    failed.c.hook_at,
    *(keys.c.name, keys.c.lasting, sequels.c.sequel),
    *COUNTS,
)

select_failures: Select[Any] = (
    select(*_failure)
    .join_from(failed, jobs, jobs.c.seq == failed.c.seq)
    .join(payloads, payloads.c.seq == jobs.c.seq)
    .outerjoin(keys, keys.c.seq == jobs.c.seq)
    .outerjoin(sequels, sequels.c.seq == jobs.c.seq)
)

select_infos: Select[Any] = (
    select(jobs.c.state, jobs.c.ready_at, jobs.c.owner, jobs.c.reserved_at, *_failure)
    .join_from(jobs, payloads, payloads.c.seq == jobs.c.seq)
    .outerjoin(keys, keys.c.seq == jobs.c.seq)
    .outerjoin(failed, failed.c.seq == jobs.c.seq)
    .outerjoin(sequels, sequels.c.seq == jobs.c.seq)
)


def reservation(row: Sequence[Any]) -> Reservation:
    job_id, payload, fence, enqueued_at, ready_at, reserved_at, history, *counts = row
    return Reservation(
        job_id,
        payload,
        fence,
        enqueued_at,
        ready_at,
        reserved_at,
        Counts(*counts),
        history or b"",
    )


def failure(row: Sequence[Any]) -> FailedJob:
    job_id, queue, payload, record, failed_at, enqueued_at, history, hook_at, *more = row
    unique, lasting, sequel, *counts = more
    return FailedJob(
        job_id,
        queue,
        payload,
        record,
        failed_at,
        enqueued_at,
        Counts(*counts),
        history or b"",
        hook_pending=hook_at is not None,
        unique=None if lasting else unique,
        sequel=sequel or b"",
    )


def info(row: Sequence[Any]) -> JobInfo:
    code, ready_at, owner, reserved_at, *rest = row
    state = STATES[code]
    job_id, queue, payload, _, _, enqueued_at, history, _, unique, _, sequel, *counts = rest
    return JobInfo(
        job_id,
        queue,
        state,
        payload,
        enqueued_at,
        Counts(*counts),
        history or b"",
        ready_at=ready_at if state in {State.READY, State.RESERVED} else None,
        due_at=ready_at if state is State.SCHEDULED else None,
        owner=owner,
        reserved_at=reserved_at,
        failed=failure(rest) if state is State.FAILED else None,
        unique=unique,
        sequel=sequel or b"",
    )
