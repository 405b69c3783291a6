"""One suite, every driver: ``driver`` is an open driver of a clean back-end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from queued.drivers import driver_for
from queued.drivers.base import Driver
from tests.contract.backends import BACKENDS, CleanUrl

MakeDriver = Callable[[], Awaitable[Driver]]


@pytest.fixture(scope="session", params=BACKENDS)
def clean_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CleanUrl]:
    yield from BACKENDS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture
def url(clean_url: CleanUrl) -> str:
    return clean_url()


@pytest.fixture
async def make_driver(url: str) -> AsyncIterator[MakeDriver]:
    """Makes further clients of the test's back-end: another process's worth each."""
    drivers: list[Driver] = []

    async def make() -> Driver:
        driver = driver_for(url)
        drivers.append(driver)
        await driver.open()
        return driver

    yield make
    for driver in drivers:
        await driver.close()


@pytest.fixture
async def driver(make_driver: MakeDriver) -> Driver:
    return await make_driver()
