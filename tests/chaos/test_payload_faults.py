"""Rows 39 and 40: a payload that is far too large, and payloads that nobody can read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from queued import Job
from queued.drivers import driver_for
from queued.drivers.base import Driver, FailedJob, NewJob
from queued.errors import PayloadTooLarge
from queued.jobs.queue import Queue
from queued.policy import MAX_PAYLOAD
from tests.chaos.ledger import WORK, Ledger
from tests.chaos.work import Quick
from tests.contract.redis_steps import SERVERS, start
from tests.contract.servers import running
from tests.process.conftest import daemon  # noqa: F401 - a fixture
from tests.process.harness import Daemon, until

CONFIG = """
connection: "{connection}"
imports: [work]
http: {{listen: "127.0.0.1:0"}}
queues:
  default: {{processes: 1, concurrency: 4}}
"""
HEADER = b'{"v":1,"job":"chaos.sleeps"}\n'
GARBAGE = {
    "empty": b"",
    "noise": bytes(range(256)) * 40,
    "not-utf8": b'{"v":1,"job":"chaos.quick\xff"}\n{}',
    "half": HEADER + b'{"seconds":0.',
    "no-body": HEADER.strip(),
    "deep": HEADER + b"[" * 100_000,
    "other-type": HEADER + b'{"seconds":"soon"}',
    "other-shape": HEADER + b"[1]",
    "later-version": b'{"v":99,"job":"chaos.quick"}\n{}',
    "pickle": b"cos\nsystem\n(S'exit'\ntR.",
    "nul": b"\0" * 1000,
    "unknown": b'{"v":1,"job":"chaos.nobody"}\n{"a":1}',
    "a-path": b'{"v":1,"job":"os.system"}\n{"command":"true"}',
}


class Large(Job):
    name = "chaos.large"
    text: str

    async def handle(self) -> None:
        pass


@pytest.fixture(params=["sqlite", *SERVERS])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/queued.db"
        return
    with running(start(request.param, tmp_path / "server")) as server:
        yield server.url


@pytest.mark.fault(39)
async def test_fifty_megabytes_are_refused_before_anything_is_sent(url: str) -> None:
    large = Large(text="x" * 50_000_000)
    async with Queue(url) as queue:
        with pytest.raises(PayloadTooLarge, match=r"47\.7 MiB .* at most 1 MiB") as caught:
            await queue.push(large)
        with pytest.raises(PayloadTooLarge, match=r"jobs\[1\]"):
            await queue.bulk([Large(text=""), large])
        with pytest.raises(PayloadTooLarge):
            await asyncio.to_thread(queue.sync.push, large)
        assert "x" * 100 not in str(caught.value)
        assert await queue.size() == 0
        envelope = len(b'{"v":1,"job":"chaos.large"}\n{"text":""}')
        await queue.push(Large(text="x" * (MAX_PAYLOAD - envelope)))
        with pytest.raises(PayloadTooLarge):
            await queue.push(Large(text="x" * (MAX_PAYLOAD - envelope + 1)))
        assert await queue.size() == 1


@pytest.mark.fault(40)
async def test_what_cannot_be_read_fails_at_once_and_keeps_its_bytes(
    url: str,
    daemon: Callable[..., Daemon],  # noqa: F811
    tmp_path: Path,
) -> None:
    ledger = Ledger(tmp_path / "ledger")
    config = CONFIG.format(connection=url)
    host = daemon(config, jobs=WORK, **ledger.environment).start()
    pids = {worker["pid"] for worker in host.workers()}
    driver = driver_for(url)
    await driver.open()
    await driver.enqueue("default", [NewJob(*one) for one in GARBAGE.items()])
    async with Queue(url) as queue:
        good = (await queue.push(Quick())).id
    failed = await asyncio.to_thread(until, lambda: asyncio.run(_failed(url)), "all to fail")
    assert {job.id: job.payload for job in failed} == GARBAGE
    for job in failed:
        assert job.counts.crashes == job.counts.lost == job.counts.timeouts == 0
        assert job.counts.runs <= 1, "nothing was tried again"
        reason = b"UnknownJob" if job.id in {"unknown", "a-path"} else b"CorruptPayload"
        assert reason in job.record, job
    until(lambda: good in ledger.runs(), "the good one to run")
    assert {worker["pid"] for worker in host.workers()} == pids
    host.run("failed", "show", "noise")
    [again] = await driver.requeue("default", ["unknown"])
    assert again
    assert len(await asyncio.to_thread(until, lambda: asyncio.run(_failed(url)), "it to fail"))
    await driver.close()
    ledger.close()


async def _failed(url: str) -> list[FailedJob]:
    driver: Driver = driver_for(url)
    await driver.open()
    failed = await driver.failed("default", limit=100)
    await driver.close()
    return failed if len(failed) == len(GARBAGE) else []
