"""What queued gives to programs that import it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

import queued
from queued.jobs import payload
from queued.jobs.job import Job
from queued.jobs.queue import Queue


def test_importing_queued_is_light() -> None:
    program = (
        "import sys, queued;"
        "heavy = {'pydantic', 'sqlalchemy', 'redis', 'yaml', 'uvloop', 'queued.daemon',"
        " 'queued.config'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )

    assert ran.stdout == "[]\n"


def test_public_names() -> None:
    assert set(queued.__all__) >= {
        "Job", "dispatch", "queue", "Queue", "Receipt", "Retry", "Fail", "register_driver", "errors"
    }  # fmt: skip
    assert all(hasattr(queued, name) for name in queued.__all__)
    assert isinstance(queued.queue, Queue)


@pytest.fixture
async def memory() -> AsyncIterator[Queue]:
    async with Queue("memory://public-names") as producer:
        yield producer


async def test_the_guide_s_samples_work_unchanged(memory: Queue) -> None:
    queue = memory
    handled: list[dict[str, Any]] = []

    class SendNotificationJob(Job):
        async def handle(self) -> None:
            handled.append({"user_id": self.user_id, "try": self.attempts, "id": self.job_id})  # type: ignore[attr-defined]

    jobs: list[Job] = []
    for user_id in range(3):
        job = SendNotificationJob()
        job.user_id = user_id  # type: ignore[attr-defined]
        jobs.append(job)
    await queue.bulk(jobs)
    assert await queue.size("default") == 3

    driver = await queue._client().driver()
    exchange = await driver.exchange("default", "worker", want=3, nonce=1)
    for reservation in exchange.jobs:
        again = payload.decode(reservation.payload)
        again.job_id, again.attempts = reservation.id, 1
        await again.handle()

    assert [run["user_id"] for run in handled] == [0, 1, 2]
    assert (await driver.stats(["default"]))["default"].reserved == 3
