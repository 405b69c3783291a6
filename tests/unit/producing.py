"""What the tests of producers share: jobs, back-ends, and waiting for a condition."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from queued.drivers import driver_for
from queued.drivers.base import Driver
from queued.jobs.job import Job
from queued.jobs.queue import Queue
from tests.contract.backends import BACKENDS, CleanUrl

SETTLED = 10.0
numbers = itertools.count()


class SendEmail(Job):
    queue = "emails"
    to: str

    async def handle(self) -> None: ...


class Note(Job):
    text: str = ""

    async def handle(self) -> None: ...


def clean_urls(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CleanUrl]:
    """Start the back-end that a fixture of this has for its parameter."""
    if request.param == "memory":  # its stores are the process's, and other suites number theirs
        yield lambda: f"memory://{__name__}-{next(numbers)}"
    else:
        yield from BACKENDS[request.param](tmp_path_factory.mktemp(request.param))


async def producer(url: str) -> AsyncIterator[Queue]:
    """Make a producer at a URL, which is a fixture's, and close it."""
    async with Queue(url) as made:
        yield made


async def opened(url: str) -> AsyncIterator[Driver]:
    """Open the driver of a URL, which is a fixture's, and close it."""
    driver = driver_for(url)
    await driver.open()
    yield driver
    await driver.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SETTLED):
        while not condition():  # noqa: ASYNC110 - the next turn of the loop is what is waited for
            await asyncio.sleep(0)
