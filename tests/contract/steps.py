"""What the tests of the suite do again and again, in the words of the contract."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import count
from typing import TypeVar

from queued.drivers.base import (
    Ack,
    Charge,
    Driver,
    Exchange,
    Fail,
    JobInfo,
    Lane,
    NewJob,
    Release,
    Reservation,
    Retry,
    Settlement,
)

Q = "emails"
ME = "1a2b3c4d-5e6f7a8b-emails.1-1"
OTHER = "1a2b3c4d-5e6f7a8b-emails.2-1"
WITHIN = 10.0
"""Seconds a condition gets to become true: a bound, never an expectation."""

T = TypeVar("T")

_nonces = count(1)


async def push(driver: Driver, *ids: str, queue: str = Q, delay: float = 0.0) -> None:
    """Enqueue jobs of these ids in this order; each one's payload is its id."""
    jobs = [NewJob(job_id, job_id.encode(), delay) for job_id in ids]
    assert await driver.enqueue(queue, jobs) == [True] * len(ids)


async def reserve(
    driver: Driver, want: int = 1, *, owner: str = ME, queue: str = Q, lane: Lane = Lane.NORMAL
) -> list[Reservation]:
    """Reserve what is ready now."""
    got = await driver.exchange(queue, owner, want=want, nonce=next(_nonces), lane=lane)
    return got.jobs


async def listen(
    driver: Driver, seconds: float, want: int = 1, *, owner: str = ME, queue: str = Q
) -> list[Reservation]:
    """Wait for a push, then reserve what is ready."""
    nonce = next(_nonces)
    got = await driver.listen(queue, owner, seconds=seconds, want=want, nonce=nonce)
    return got.jobs


async def hold(driver: Driver, job_id: str, *, owner: str = ME, queue: str = Q) -> Reservation:
    """Enqueue one job and reserve it; nothing else may be ready."""
    await push(driver, job_id, queue=queue)
    [held] = await reserve(driver, owner=owner, queue=queue)
    assert held.id == job_id
    return held


async def settle(
    driver: Driver, *settlements: Settlement, owner: str = ME, queue: str = Q
) -> list[str]:
    """Settle only; return the ids of the lost ones, sorted."""
    answer = await driver.exchange(queue, owner, settlements, nonce=next(_nonces))
    assert answer.jobs == []
    return sorted(answer.lost)


async def look(driver: Driver, queue: str = Q) -> Exchange:
    """Exchange nothing, for the flags."""
    return await driver.exchange(queue, ME, nonce=next(_nonces))


def ack(job: Reservation) -> Ack:
    return Ack(job.id, job.fence)


def retry(
    job: Reservation, delay: float = 0.0, charge: Charge = Charge.ERROR, note: bytes = b""
) -> Retry:
    return Retry(job.id, job.fence, delay, charge, note)


def release(job: Reservation, charge: Charge = Charge.RELEASE, note: bytes = b"") -> Release:
    return Release(job.id, job.fence, charge, note)


def fail(
    job: Reservation,
    charge: Charge = Charge.ERROR,
    *,
    record: bytes = b"{}",
    note: bytes = b"",
    hook: float | None = None,
) -> Fail:
    return Fail(job.id, job.fence, charge, record, note, hook)


async def failed_job(driver: Driver, job_id: str, *, hook: float | None = None) -> Reservation:
    """Bring one job to failed; nothing else may be ready."""
    held = await hold(driver, job_id)
    assert await settle(driver, fail(held, record=b"why " + job_id.encode(), hook=hook)) == []
    return held


async def info(driver: Driver, job_id: str, queue: str = Q) -> JobInfo:
    found = await driver.find(job_id, queue)
    assert found is not None
    return found


async def size(driver: Driver, queue: str = Q) -> int:
    """Ready and scheduled."""
    return (await driver.stats([queue]))[queue].size


async def drain(
    driver: Driver, *, want: int = 100, owner: str = ME, queue: str = Q, lane: Lane = Lane.NORMAL
) -> list[str]:
    """Reserve and acknowledge until nothing is ready; return the ids in the order they came."""
    done: list[str] = []
    while jobs := await reserve(driver, want, owner=owner, queue=queue, lane=lane):
        assert await settle(driver, *map(ack, jobs), owner=owner, queue=queue) == []
        done += ids(jobs)
    return done


def ids(jobs: Iterable[Reservation]) -> list[str]:
    return [job.id for job in jobs]


def notes(history: bytes) -> list[bytes]:
    """Return the notes of a history, oldest first."""
    return [note for note in history.split(b"\n") if note]


def names(count: int, prefix: str = "job") -> list[str]:
    return [f"{prefix}-{number:04}" for number in range(count)]


async def until(condition: Callable[[], Awaitable[T]]) -> T:
    """Return the first true answer of ``condition``; fail when none comes within the bound."""
    async with asyncio.timeout(WITHIN):
        while not (answer := await condition()):  # noqa: ASYNC110 - the state of a server
            await asyncio.sleep(0.01)
        return answer


async def reserve_when_ready(
    driver: Driver, want: int = 1, *, owner: str = ME, lane: Lane = Lane.NORMAL
) -> list[Reservation]:
    """Reserve as soon as anything is ready (a scheduled job becomes so by itself)."""
    return await until(lambda: reserve(driver, want, owner=owner, lane=lane))


def all_ids(answers: Sequence[Exchange]) -> list[str]:
    return [job.id for answer in answers for job in answer.jobs]
