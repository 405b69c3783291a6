"""How values cross to the server and back. Payloads, notes and records pass as they are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from struct import Struct
from typing import Any

from queued.drivers.base import (
    NO_COUNTS,
    Counts,
    FailedJob,
    JobInfo,
    QueueStats,
    Reservation,
    State,
)

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_UUID_SIZE = 16
_ENTRY = Struct(">QQ")  # fence, ms of reserving

pack_fence = Struct(">Q").pack


def pack_id(job_id: str) -> bytes:
    """Return the stored form: the 16 bytes of a UUID, else text marked so that it never has 16."""
    if _UUID.fullmatch(job_id):
        return bytes.fromhex(job_id.replace("-", ""))
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


def reservations(flat: Sequence[Any]) -> Iterator[Reservation]:
    """Yield what ``reserve`` and ``retire`` answer: id, entry, record and counts of each job."""
    values = iter(flat)
    for raw, entry, record, meta in zip(values, values, values, values, strict=True):
        fence, reserved = _ENTRY.unpack(entry)
        payload, enqueued_at, ready_at = record_of(record)
        counts, history = counts_of(meta)
        yield Reservation(
            unpack_id(raw),
            payload,
            fence,
            enqueued_at,
            ready_at,
            reserved / 1000,
            counts,
            history,
        )


def fences(flat: Sequence[bytes]) -> dict[str, int]:
    """Return id and fence of each entry in ``held``."""
    values = iter(flat)
    return {
        unpack_id(raw): _ENTRY.unpack(entry)[0] for raw, entry in zip(values, values, strict=True)
    }


def record_of(record: bytes) -> tuple[bytes, float, float]:
    """Return payload, time of enqueueing and time of readiness from a record in ``jobs``."""
    enqueued, ready = int.from_bytes(record[:6]), int.from_bytes(record[6:12])
    return record[12:], enqueued / 1000, ready / 1000


def counts_of(meta: bytes | None) -> tuple[Counts, bytes]:
    """Return the counts and the history of a record in ``meta`` (None: it never ran abnormally)."""
    if not meta:
        return NO_COUNTS, b""
    line, _, history = meta.partition(b"\n")
    return Counts(*map(int, line.split(b","))), history


def failed_job(queue: str, values: Sequence[Any]) -> FailedJob:
    """Return what ``_failed.lua`` describes."""
    raw, failed, record, failure, meta, hook = values
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
    )


def job_info(job_id: str, queue: str, values: Sequence[Any]) -> JobInfo:
    """Return what ``find.lua`` answers."""
    name, record, meta, *rest = values
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
        **where,
    )


def stats_of(values: Sequence[Any]) -> QueueStats:
    """Return what ``stats.lua`` answers."""
    *counts, oldest_ready, oldest_reserved = values
    return QueueStats(*(*counts, oldest_ready / 1000, oldest_reserved / 1000))
