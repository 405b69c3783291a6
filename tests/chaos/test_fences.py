"""A settlement names a job, its owner and its fence: why none of the three can be left out.

A back-end that was put back to an earlier moment hands out the same fences again, so that only the
owner tells the run of then from the run of now. And a settlement that comes late, or a second time,
may find its job held by the same owner again, so that only the fence does.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, closing, contextmanager
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pytest
import redis

from queued.drivers import driver_for
from queued.drivers.base import Driver, JobInfo, Lane, Reservation, Settlement
from queued.drivers.redis import RedisDriver
from queued.drivers.redis.codec import unpack_id
from queued.drivers.redis.commands import Commands
from queued.drivers.redis.scripts import scripts
from queued.drivers.sql.exchange import Wanted, exchange
from queued.drivers.sql.sqlite_file import SqliteFile
from queued.jobs.job import Job
from tests.chaos.proxy import Moment, Proxy
from tests.chaos.test_sqlite_faults import forked
from tests.contract.servers import running, start_valkey
from tests.contract.steps import ME, OTHER, Q, ids, info, names, push, release, reserve, settle
from tests.contract.test_settle import EVERY_KIND
from tests.unit.working import PATIENCE, Shop, until

JOBS = names(len(EVERY_KIND))


class Restorable(NamedTuple):
    """A back-end of which a moment can be kept, and put back while nobody has it open."""

    url: str
    keep: Callable[[], object]
    put_back: Callable[[], object]


@contextmanager
def valkey(folder: Path) -> Iterator[Restorable]:
    with running(start_valkey(folder)) as server:

        def keep() -> None:
            with redis.Redis(port=server.port) as client:
                client.save()

        def put_back() -> None:
            server.kill()
            server.start()

        yield Restorable(server.url, keep, put_back)


@contextmanager
def sqlite(folder: Path) -> Iterator[Restorable]:
    file, kept = folder / "queued.db", folder / "kept.db"
    yield Restorable(
        f"sqlite:///{file}", lambda: shutil.copy(file, kept), lambda: shutil.copy(kept, file)
    )


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Driver]:
    driver = driver_for(url)
    await driver.open()
    try:
        yield driver
    finally:
        await driver.close()


def in_every_way(held: Iterable[Reservation]) -> list[Settlement]:
    return [way(job) for way, job in zip(EVERY_KIND.values(), held, strict=True)]


async def all_jobs(driver: Driver) -> list[JobInfo]:
    return [await info(driver, name) for name in JOBS]


@pytest.mark.parametrize("backend", [valkey, sqlite])
async def test_a_fence_that_is_given_again_is_of_no_use_to_its_earlier_owner(
    tmp_path: Path, backend: Callable[[Path], AbstractContextManager[Restorable]]
) -> None:
    with backend(tmp_path) as restorable:
        async with opened(restorable.url) as driver:
            await push(driver, *JOBS)
        restorable.keep()
        async with opened(restorable.url) as driver:
            then = await reserve(driver, len(JOBS))
        restorable.put_back()
        async with opened(restorable.url) as driver:
            now = await reserve(driver, len(JOBS), owner=OTHER)
            assert [(job.id, job.fence) for job in now] == [(job.id, job.fence) for job in then]
            before = await all_jobs(driver)
            assert await settle(driver, *in_every_way(then)) == JOBS
            assert await all_jobs(driver) == before
            assert await settle(driver, *in_every_way(now), owner=OTHER) == []


async def test_a_process_that_stood_still_cannot_settle_what_its_owner_holds_anew(
    tmp_path: Path,
) -> None:
    async with opened(f"sqlite:///{tmp_path}/queued.db") as driver:
        await push(driver, *JOBS)
        held = await reserve(driver, len(JOBS))

        def settle_late(pipe: int) -> None:
            file, nothing = SqliteFile(tmp_path / "queued.db"), Wanted(0, 0, 30.0, Lane.NORMAL)
            os.kill(os.getpid(), signal.SIGSTOP)
            settlements = in_every_way(held)
            answer = file.write(lambda session: exchange(session, Q, ME, settlements, nothing))
            assert answer is not None
            os.write(pipe, " ".join(answer.lost).encode())

        child, pipe = forked(settle_late)
        try:
            _, status = await asyncio.to_thread(os.waitpid, child, os.WUNTRACED)
            assert os.WIFSTOPPED(status)
            assert await settle(driver, *map(release, held)) == []
            again = await reserve(driver, len(JOBS))
            assert ids(again) == ids(held)
            before = await all_jobs(driver)
        finally:
            os.kill(child, signal.SIGCONT)
            with os.fdopen(pipe, encoding="ascii") as answer:
                lost = await asyncio.to_thread(answer.read)
            await asyncio.to_thread(os.waitpid, child, 0)
        assert sorted(lost.split()) == JOBS
        assert await all_jobs(driver) == before
        assert await settle(driver, *in_every_way(again)) == []


@pytest.mark.fault(32)
async def test_a_request_that_comes_late_cannot_settle_what_its_owner_holds_anew(
    tmp_path: Path,
) -> None:
    """It was on its way in a connection that was given up."""
    with valkey(tmp_path) as server, redis.Redis.from_url(server.url) as connection:
        async with opened(server.url) as driver:
            await push(driver, *JOBS)
            held = await reserve(driver, len(JOBS))
            requests = Commands("queued").settle(Q, ME, in_every_way(held))
            assert await settle(driver, *map(release, held)) == []
            again = await reserve(driver, len(JOBS))
            assert ids(again) == ids(held)
            before = await all_jobs(driver)
            lost = chain(*(connection.execute_command(*request) for request in requests))
            assert sorted(map(unpack_id, lost)) == JOBS
            assert await all_jobs(driver) == before
            assert await settle(driver, *in_every_way(again)) == []


seen: list[int] = []


class Flaky(Job):
    name = "test.fences_flaky"

    async def handle(self) -> None:
        seen.append(self.attempts)
        if self.attempts == 1:
            raise ValueError


@pytest.mark.fault(32)
async def test_a_worker_whose_retry_is_heard_twice_is_charged_for_one_run(tmp_path: Path) -> None:
    """One exchange hands a job back and reserves it again; its answer is lost, and it is repeated.

    The settlement is that of the first run, and the job is already held for the second.
    """
    seen.clear()
    with (
        running(start_valkey(tmp_path)) as server,
        Proxy(server.port) as proxy,
        closing(Shop()) as shop,
    ):
        driver = RedisDriver(proxy.url)
        shop.driver = driver  # type: ignore[assignment]
        await driver.open()
        await shop.push(Flaky())
        proxy.reset(Moment.AFTER, scripts()["retry"].sha.encode(), times=1)
        worker = shop.worker(sleep=60, retry_after=0)
        life = asyncio.create_task(worker.run())
        try:
            await until(lambda: shop.board and shop.board.settled == 2, "both settlements")
        finally:
            worker.life.quit()
            async with asyncio.timeout(PATIENCE):
                await life
            await driver.close()
        assert proxy.left == 0
        assert seen == [1, 2]
