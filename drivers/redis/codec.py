"""How values cross to the server and back. Payloads, notes and records pass as they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, repeat
from struct import Struct
from typing import Any

from queued.drivers.base import (
    NO_COUNTS,
    Counts,
    Enqueued,
    FailedJob,
    JobInfo,
    Paused,
    QueueStats,
    Reservation,
    State,
)
from queued.drivers.sequel import Batch

_UUID_SIZE = 16
_UUID_LENGTH = 36
_ENTRY = Struct(">QQ")  # fence, ms of reserving
_HEAD = 16  # bytes of a record before the payload
_NOTHING = NO_COUNTS, b""
_UNTIL_DONE = b"d"  # see _unique.lua
_from_hex = bytes.fromhex
_TIMES = Struct(">dd")  # of enqueueing and of readiness
_times_of, _pack_times = _TIMES.unpack_from, _TIMES.pack

pack_fence = Struct(">Q").pack


def pack_id(job_id: str) -> bytes:
    """Return the stored form: the 16 bytes of a UUID, else text marked so that it never has 16."""
    if len(job_id) == _UUID_LENGTH and job_id[8:24:5] == "----" and job_id == job_id.lower():
        try:
            raw = _from_hex(job_id.replace("-", ""))
        except ValueError:
            raw = b""
        if len(raw) == _UUID_SIZE:
            return raw
    text = b":" + job_id.encode()
    return text if len(text) != _UUID_SIZE else b":" + text


def unpack_id(raw: bytes) -> str:
    """Reverse ``pack_id``; no id starts with a colon (``ID_PATTERN``)."""
    if len(raw) != _UUID_SIZE:
        return raw.lstrip(b":").decode()
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def milliseconds(seconds: float) -> int:
    """Return whole milliseconds for the server: 0 only for what is no delay at all."""
    return max(1, round(seconds * 1000)) if seconds > 0 else 0


def newly_enqueued(count: int, refused: Sequence[Any]) -> list[Enqueued]:
    """Return what became of ``count`` jobs, of what enqueue.lua answers."""
    answer: list[Enqueued] = [True] * count
    for one in refused:
        if isinstance(one, int):
            answer[one - 1] = False
        else:
            position, holder = one
            answer[position - 1] = unpack_id(holder)
    return answer


def reservations(batches: Sequence[Any]) -> Iterator[Reservation]:
    """Yield the jobs of the batches that ``reserve`` and ``retire`` answer (_reservations.lua)."""
    made = Reservation._make  # half the time of a call with eight arguments
    for first, reserved, ids, records, metas in batches:
        at = reserved / 1000
        for fence, raw, record, meta in zip(count(first), ids, records, metas or repeat(None)):
            if record is not None:  # else the job was removed behind our back
                enqueued_at, ready_at = _times_of(record)
                payload = record[_HEAD:]
                counts, history = counts_of(meta) if meta else _NOTHING
                yield made(
                    (unpack_id(raw), payload, fence, enqueued_at, ready_at, at, counts, history)
                )


def fences(flat: Sequence[bytes]) -> dict[str, int]:
    """Return id and fence of each entry in ``held``."""
    values = iter(flat)
    return {
        unpack_id(raw): _ENTRY.unpack(entry)[0] for raw, entry in zip(values, values, strict=True)
    }


def record_of(record: bytes) -> tuple[bytes, float, float]:
    """Return payload, time of enqueueing and time of readiness from a record in ``jobs``."""
    enqueued_at, ready_at = _times_of(record)
    return record[_HEAD:], enqueued_at, ready_at


def counts_of(meta: bytes | None) -> tuple[Counts, bytes]:
    """Return the counts and the history of a record in ``meta`` (None: it never ran abnormally)."""
    if not meta:
        return _NOTHING
    line, _, history = meta.partition(b"\n")
    return Counts(*map(int, line.split(b","))), history


def failed_job(queue: str, values: Sequence[Any]) -> FailedJob:
    """Return what ``_failed.lua`` describes."""
    raw, failed, record, failure, meta, hook, key, sequel = values
    payload, enqueued_at, _ = record_of(record)
    counts, history = counts_of(meta)
    return FailedJob(
        id=unpack_id(raw),
        queue=queue,
        payload=payload,
        record=failure,
        failed_at=float(failed) / 1_000_000,
        enqueued_at=enqueued_at,
        counts=counts,
        history=history,
        hook_pending=hook is not None,
        unique=key[1:].decode() if key and key.startswith(_UNTIL_DONE) else None,
        sequel=sequel or b"",
    )


def restorable(failed: FailedJob) -> tuple[bytes | int, ...]:
    """Return what restore.lua takes for a job: the reverse of ``failed_job``."""
    times = _pack_times(failed.enqueued_at, failed.enqueued_at)
    meta = b""
    if (failed.counts, failed.history) != _NOTHING:
        meta = ",".join(map(str, failed.counts)).encode()
        meta += b"\n" + failed.history if failed.history else b""
    return (
        pack_id(failed.id),
        times + failed.payload,
        meta,
        round(failed.failed_at * 1_000_000),
        failed.record,
        int(failed.hook_pending),
        b"" if failed.unique is None else _UNTIL_DONE + failed.unique.encode(),
        failed.sequel,
    )


def job_info(job_id: str, queue: str, values: Sequence[Any]) -> JobInfo:
    """Return what ``find.lua`` answers."""
    name, record, meta, key, sequel, *rest = values
    state = State(name.decode())
    payload, enqueued_at, ready_at = record_of(record)
    counts, history = counts_of(meta)
    where: dict[str, Any] = {}
    match state:
        case State.FAILED:
            where["failed"] = failed_job(queue, rest[0])
        case State.SCHEDULED:
            where["due_at"] = float(rest[0]) / 1000
        case State.RESERVED:
            owner, entry = rest
            where["owner"] = owner.decode()
            where["ready_at"] = ready_at
            where["reserved_at"] = _ENTRY.unpack(entry)[1] / 1000
        case State.READY:
            where["ready_at"] = ready_at
    return JobInfo(
        id=job_id,
        queue=queue,
        state=state,
        payload=payload,
        enqueued_at=enqueued_at,
        counts=counts,
        history=history,
        unique=key[1:].decode() if key else None,
        sequel=sequel or b"",
        **where,
    )


def stats_of(values: Sequence[Any]) -> QueueStats:
    """Return what ``stats.lua`` answers."""
    *counts, oldest_ready, oldest_reserved, outbox, limited, (since, by, reason) = values
    ages = (oldest_ready / 1000, oldest_reserved / 1000)
    paused = Paused(int(since) / 1000, by.decode(), reason.decode()) if since else None
    return QueueStats(*(*counts, *ages, outbox, limited / 1000, paused))


def batch_of(batch_id: str, queue: str, values: Sequence[Any]) -> Batch:
    """Return what ``batch.lua`` answers."""
    total, done, failed, gone, created, finished, *failed_ids = values
    return Batch(
        id=batch_id,
        queue=queue,
        total=int(total),
        done=int(done),
        failed=int(failed),
        cancelled=int(gone),
        created_at=int(created) / 1000,
        finished_at=int(finished) / 1000 if finished is not None else None,
        failed_ids=tuple(sorted(map(unpack_id, failed_ids))),
    )
