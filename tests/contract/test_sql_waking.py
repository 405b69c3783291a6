"""How an idle worker of an SQLite file hears of work, and what it does not hear of."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from queued.drivers.sql import SqlDriver, inotify
from queued.drivers.sql.inotify import FileWatch
from tests.contract.steps import WITHIN, Q, drain, names, push, reserve, until


def open_descriptors() -> list[str]:
    return os.listdir("/proc/self/fd")  # noqa: PTH208 - the names are all


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/queued.db"


@pytest.fixture
async def driver(url: str) -> AsyncIterator[SqlDriver]:
    driver = SqlDriver(url)
    await driver.open()
    yield driver
    await driver.close()


@pytest.fixture
async def waiter(url: str) -> AsyncIterator[SqlDriver]:
    driver = SqlDriver(url)
    await driver.open()
    yield driver
    await driver.close()


@pytest.fixture
async def watch(tmp_path: Path) -> AsyncIterator[FileWatch]:
    (tmp_path / "file").touch()
    watch = FileWatch(tmp_path / "file")
    watch.open()
    yield watch
    watch.close()


async def test_a_watch_hears_a_write(watch: FileWatch, tmp_path: Path) -> None:
    waiting = asyncio.ensure_future(watch.changed(WITHIN))
    await asyncio.sleep(0)
    (tmp_path / "file").write_bytes(b"x")
    assert await waiting
    watch.hear()
    assert not await watch.changed(0.01)


async def test_what_happened_before_is_kept_until_it_is_heard(
    watch: FileWatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"x")
    assert await watch.changed(WITHIN)
    (tmp_path / "file").write_bytes(b"y")
    watch.hear()
    assert not await watch.changed(0.01)


async def test_two_may_wait_on_one_watch(watch: FileWatch, tmp_path: Path) -> None:
    waiting = [asyncio.ensure_future(watch.changed(WITHIN)) for _ in range(2)]
    short = asyncio.ensure_future(watch.changed(0.01))
    assert not await short
    (tmp_path / "file").write_bytes(b"x")
    assert await asyncio.gather(*waiting) == [True, True]


async def test_a_file_that_is_replaced_is_watched_again(watch: FileWatch, tmp_path: Path) -> None:
    (tmp_path / "file").unlink()
    assert await watch.changed(WITHIN)  # of the removal
    watch.hear()
    (tmp_path / "file").touch()
    await watch.changed(0.01)
    (tmp_path / "file").write_bytes(b"x")
    assert await watch.changed(WITHIN)


async def test_a_closed_watch_leaves_no_descriptor(tmp_path: Path) -> None:
    before = len(open_descriptors())
    for _ in range(5):
        watch = FileWatch(tmp_path)
        watch.open()
        watch.open()
        await watch.changed(0.001)
        watch.close()
        watch.close()
    assert len(open_descriptors()) == before


async def test_closing_ends_no_wait_badly(url: str) -> None:
    driver = SqlDriver(url)
    await driver.open()
    waiting = asyncio.ensure_future(driver._database.wait(Q, 0.3))
    await asyncio.sleep(0.05)
    await driver.close()
    assert not await waiting
    await driver.close()


async def test_without_inotify_workers_poll(
    url: str, driver: SqlDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On other systems, and where a user's inotify instances are used up (128 by default)."""
    monkeypatch.setattr(inotify, "_inotify_init", lambda: -1)
    waiter = SqlDriver(url)
    await waiter.open()
    try:
        waiting = asyncio.ensure_future(waiter._database.wait(Q, 60))
        await asyncio.sleep(0.05)
        await push(driver, "a")
        async with asyncio.timeout(WITHIN):
            assert await waiting
        assert not await waiter._database.wait(Q, 0.01)
    finally:
        await waiter.close()


async def test_a_worker_does_not_wake_itself(driver: SqlDriver) -> None:
    """Its own commits are on the same file."""
    await push(driver, *names(3))
    assert await drain(driver, want=1) == names(3)
    assert not await driver._database.wait(Q, 0.05)


async def test_other_queues_do_not_wake_a_worker(driver: SqlDriver, waiter: SqlDriver) -> None:
    assert not await waiter._database.wait(Q, 0)
    waiting = asyncio.ensure_future(waiter._database.wait(Q, 60))
    for name in names(50):
        await push(driver, name, queue="other")
    assert not waiting.done()
    await push(driver, "a")
    async with asyncio.timeout(WITHIN):
        assert await waiting


async def test_a_ready_job_that_nobody_takes_wakes_once(
    driver: SqlDriver, waiter: SqlDriver
) -> None:
    """It may wait for a worker with a free slot: the others must not spin meanwhile."""
    await push(driver, "a")
    assert await waiter._database.wait(Q, 60)
    assert not await waiter._database.wait(Q, 0.05)
    await push(driver, "b")
    assert await waiter._database.wait(Q, 60)


async def test_a_due_job_that_nobody_takes_wakes_once(driver: SqlDriver, waiter: SqlDriver) -> None:
    await push(driver, "a", delay=0.05)
    async with asyncio.timeout(WITHIN):
        while not await waiter._database.wait(Q, 60):
            pass
    assert not await waiter._database.wait(Q, 0.05)
    [held] = await until(lambda: reserve(waiter))
    assert held.id == "a"


async def test_a_push_during_the_last_exchange_is_not_missed(
    driver: SqlDriver, waiter: SqlDriver
) -> None:
    """Pushed after a worker looked in vain, and before it waits."""
    for name in names(20):
        assert await reserve(waiter) == []
        await push(driver, name)
        assert await waiter._database.wait(Q, 60)
        assert await drain(waiter) == [name]
