"""Asking the back-end: one connection for one command."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

from queued.cli.failures import Refused
from queued.drivers import driver_for
from queued.drivers.base import Driver, JobInfo
from queued.environment import redact
from queued.errors import DriverUnavailable

T = TypeVar("T")

PATIENCE = 15.0
"""Seconds to reach the back-end; people wait at a terminal."""


def ask(url: str, question: Callable[[Driver], Awaitable[T]]) -> T:
    """Return what ``question`` answers when it is given an open driver.

    :raises DriverUnavailable: the back-end cannot be reached.
    :raises Refused: there is no such SQLite file; to look at a mistyped path must not make one.
    """
    scheme, _, path = url.partition(":///")
    if scheme == "sqlite" and not Path(path).exists():
        raise Refused(f"{path}: no such database; it is made by the first dispatch or start")

    async def answer() -> T:
        async with opened(url) as driver:
            return await question(driver)

    return asyncio.run(answer())


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Driver]:
    """Yield the driver of ``url``, open; it is closed after."""
    driver = driver_for(url)
    try:
        try:
            async with asyncio.timeout(PATIENCE):
                await driver.open()
        except TimeoutError:
            where = redact(url)
            raise DriverUnavailable(f"no answer from {where} within {PATIENCE:g} s") from None
        yield driver
    finally:
        await driver.close()


async def find(driver: Driver, job_id: str, queue: str | None) -> JobInfo:
    """Return where a job is.

    :raises Refused: no queue has a job of that id (any more).
    """
    info = await driver.find(job_id, queue)
    if info is None:
        where = f" in {queue}" if queue else ""
        raise Refused(f"no job {job_id!r}{where}; the record of a job that is done is not kept")
    return info


async def known_queues(driver: Driver, queue: str | None) -> list[str]:
    """Return ``queue`` alone, or all.

    :raises Refused: no job was ever in ``queue``.
    """
    known = await driver.queues()
    if queue is None:
        return known
    if queue in known:
        return [queue]
    near = get_close_matches(queue, known, n=1)
    hint = f'; did you mean "{near[0]}"?' if near else f"; known are {', '.join(known)}"
    raise Refused(f"no job was ever in the queue {queue!r}{hint if known else ''}")
