"""Rows 36, 37 and 38: many jobs due at once, a long backlog, many workers that wait for one job."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path

import pytest
import redis

from queued.drivers.base import MAX_BATCH, NewJob
from queued.drivers.redis import RedisDriver
from queued.jobs.ids import new_ids
from tests.chaos.invariants import broken
from tests.contract.redis_steps import (
    driver_of_server,  # noqa: F401 - a fixture
    fresh_server,  # noqa: F401 - a fixture
    opened,
    operator_client,  # noqa: F401 - a fixture
    scripts_run,
)
from tests.contract.servers import Server
from tests.contract.steps import ME, Q, ack, drain, ids, look, names, push, until
from tests.process.harness import Daemon
from tests.process.harness import until as wait_until

BACKLOG = int(os.environ.get("QUEUED_CHAOS_BACKLOG", "50000"))
"""Jobs that wait; a million by hand: QUEUED_CHAOS_BACKLOG=1000000."""
PAYLOAD = b'{"v":1,"job":"work.Nothing"}\n' + b"{}".ljust(154)
OVERHEAD = 140
"""Bytes of the server's memory for each job that waits, beside its payload."""
FLAT = 8 << 20
"""Bytes by which a process may grow while the backlog does: nothing in it is kept for each job."""

CONFIG = """
connection: "{url}"
imports: [work]
http: {{listen: "127.0.0.1:0"}}
queues:
  emails: {{processes: 1, concurrency: 50}}
"""
JOBS = """
from queued import Job

class Nothing(Job):
    async def handle(self):
        pass
"""


@pytest.mark.fault(36)
@pytest.mark.parametrize("count", [1_000, 20_000])
async def test_jobs_that_are_due_at_once_come_in_batches(
    driver: RedisDriver, admin: redis.Redis, count: int
) -> None:
    for first in range(0, count, MAX_BATCH):
        await push(driver, *(f"job-{n}" for n in range(first, first + MAX_BATCH)), delay=0.001)
    await until(lambda: _is_due(driver))
    answer = await driver.exchange(Q, ME, want=10**6, nonce=1)
    assert len(answer.jobs) == MAX_BATCH
    moved = []
    while some := await driver.promote(Q, MAX_BATCH):
        moved.append(some)
    assert sum(moved) == count - MAX_BATCH
    assert not moved or max(moved) <= MAX_BATCH
    assert broken(admin, Q) == []
    done = ids(answer.jobs)
    assert (await driver.exchange(Q, ME, [ack(job) for job in answer.jobs], nonce=2)).lost == []
    done += await drain(driver, want=MAX_BATCH, owner="other")
    assert sorted(done) == sorted(f"job-{n}" for n in range(count))


async def _is_due(driver: RedisDriver) -> bool:
    return (await look(driver)).next_due == 0


@pytest.mark.fault(37)
def test_a_long_backlog_costs_little_memory_here_and_none_there(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "daemon").mkdir()
    daemon = Daemon(tmp_path / "daemon", CONFIG.format(url=server.url), jobs=JOBS)
    try:
        daemon.start()
        with redis.Redis(port=server.port) as admin:
            asyncio.run(_fill(server.url, MAX_BATCH))
            wait_until(lambda: _is_empty(admin), "a first thousand to be done")
            before = _memory(daemon)
            used = admin.info("memory")["used_memory"]
            [worker] = daemon.workers()
            os.kill(worker["pid"], signal.SIGSTOP)  # so that it grows
            asyncio.run(_fill(server.url, BACKLOG))
            each = (admin.info("memory")["used_memory"] - used) / BACKLOG
            os.kill(worker["pid"], signal.SIGCONT)
            started = time.monotonic()
            wait_until(lambda: _is_empty(admin), "all to be done", 60 + BACKLOG / 500)
            seconds = time.monotonic() - started
        after = _memory(daemon)
        grown = {pid: size - before[pid] for pid, size in after.items() if pid in before}
        print(f"{BACKLOG} jobs: {each:.0f} bytes each, done in {seconds:.1f} s; grown by {grown}")
        assert each <= len(PAYLOAD) + OVERHEAD
        assert before.keys() == after.keys()
        assert max(grown.values()) < FLAT
    finally:
        daemon.clean_up()


async def _fill(url: str, count: int) -> None:
    async with opened(url) as driver:
        for _ in range(0, count, MAX_BATCH):
            await driver.enqueue(Q, [NewJob(id_, PAYLOAD) for id_ in new_ids(MAX_BATCH)])


def _is_empty(admin: redis.Redis) -> bool:
    return bool(admin.exists(f"queued:{{{Q}}}:jobs") == 0)


def _memory(daemon: Daemon) -> dict[int, int]:
    """Return the resident memory of each process of a daemon."""
    page = os.sysconf("SC_PAGE_SIZE")
    return {
        pid: int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page
        for pid in daemon.processes()
    }


@pytest.mark.fault(38)
async def test_of_two_hundred_that_wait_one_gets_the_job(
    server: Server, admin: redis.Redis
) -> None:
    """A push wakes one of them. The others stay asleep, and make no call."""
    count = 200
    async with contextlib.AsyncExitStack() as stack:
        drivers = [await stack.enter_async_context(opened(server.url)) for _ in range(count)]
        waits = [
            asyncio.create_task(one.listen(Q, f"owner-{n}", seconds=50, want=10, nonce=1))
            for n, one in enumerate(drivers)
        ]

        async def all_wait() -> bool:
            return bool(admin.info("clients")["blocked_clients"] == count)

        await until(all_wait)
        admin.config_resetstat()
        async with opened(server.url) as producer:
            await push(producer, "one")
            woken, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            [winner] = [waits.index(task) for task in woken]
            got = waits[winner].result().jobs
            assert ids(got) == ["one"]
            assert sum(not one.done() for one in waits) == count - 1
            assert scripts_run(admin) == 2, "the push, and the winner's reserve"
        for task in waits:
            task.cancel()
        await asyncio.wait(waits)
        # And if all of them ask at the same time, still one gets it.
        await drivers[0].exchange(Q, f"owner-{winner}", [ack(got[0])])
        await push(drivers[0], *names(3))
        all_answers = await asyncio.gather(
            *(one.exchange(Q, f"asks-{n}", want=10, nonce=1) for n, one in enumerate(drivers))
        )
        assert sorted(id_ for one in all_answers for id_ in ids(one.jobs)) == names(3)
    assert broken(admin, Q) == []
