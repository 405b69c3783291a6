"""``at``: a moment instead of a delay."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from queued.drivers import driver_for
from queued.drivers.base import JobInfo, State
from queued.errors import InvalidJob
from queued.jobs.job import Job
from queued.jobs.parcel import seconds_until
from queued.jobs.queue import Queue

numbers = itertools.count()
NEXT_YEAR = datetime(datetime.now(UTC).year + 1, 7, 1, 12, tzinfo=UTC)


class Note(Job):
    text: str = ""

    def handle(self) -> None: ...


@pytest.fixture
async def queue() -> AsyncIterator[Queue]:
    async with Queue(f"memory://at-{next(numbers)}") as producer:
        yield producer


async def info_of(queue: Queue, job_id: str) -> JobInfo:
    driver = driver_for(str(queue._url))
    await driver.open()
    info = await driver.find(job_id)
    assert info is not None
    return info


@pytest.mark.parametrize(
    "at",
    [
        NEXT_YEAR,
        NEXT_YEAR.astimezone(ZoneInfo("Europe/Paris")),
        NEXT_YEAR.astimezone(timezone(timedelta(hours=-9, minutes=-30))),
    ],
)
async def test_a_job_runs_at_a_moment_in_whatever_zone_it_is_said(
    queue: Queue, at: datetime
) -> None:
    receipts = [
        await queue.push(Note(), at=at),
        await queue.later(at, Note()),
        *await queue.bulk([Note(), Note()], at=at),
    ]
    for one in receipts:
        info = await info_of(queue, one.id)
        assert info.state is State.SCHEDULED
        assert info.due_at is not None
        assert abs(info.due_at - NEXT_YEAR.timestamp()) < 60


def test_the_verbs_without_an_event_loop() -> None:
    sync = Queue(f"memory://at-{next(numbers)}").sync
    sync.push(Note(), at=NEXT_YEAR)
    sync.later(NEXT_YEAR, Note())
    sync.bulk([Note()], at=NEXT_YEAR)
    assert sync.stats().scheduled == 3
    sync.close()


async def test_a_moment_that_is_over_is_now(queue: Queue) -> None:
    receipt = await queue.push(Note(), at=datetime(2000, 1, 1, tzinfo=UTC))
    assert (await info_of(queue, receipt.id)).state is State.READY


@pytest.mark.parametrize(
    ("at", "message"),
    [
        (datetime(2030, 1, 1), r"at: 2030-01-01 00:00:00 has no time zone.*datetime\.now\(UTC\)"),  # noqa: DTZ001
        ("2030-01-01", r"at: expected a datetime with a time zone, got str"),
        (datetime.max.replace(tzinfo=UTC), r"more than a hundred years away"),
    ],
)
async def test_what_is_no_moment_enqueues_nothing(queue: Queue, at: Any, message: str) -> None:
    with pytest.raises(InvalidJob, match=message):
        await queue.push(Note(), at=at)
    with pytest.raises(InvalidJob, match=message):
        await queue.bulk([Note()], at=at)
    assert await queue.size() == 0


def test_a_delay_and_a_moment_contradict_each_other() -> None:
    with pytest.raises(InvalidJob, match="give one of them"):
        seconds_until(5, NEXT_YEAR)
