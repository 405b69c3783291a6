"""taskiq: ``RedisStreamBroker`` (acknowledged) and ``ListQueueBroker`` (not), with uvloop.

taskiq uses uvloop by itself where it is installed. There is no result back-end, as nobody reads
results, and no line per job (``--log-level WARNING``); everything else is at its default. It
documents no way to enqueue in bulk; ``kiq`` is awaited, and a hundred at once (``asyncio.gather``)
is at least as fast as one after another.
"""

# mypy: disable-error-code="import-not-found, untyped-decorator"
# Its library is in its own venv only.
from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from taskiq_redis import ListQueueBroker, RedisStreamBroker

from . import ticks
from .base import SLEEP, SYSTEM, URL, AsyncProducer, Producers

broker = ListQueueBroker(url=URL) if SYSTEM == "taskiq-list" else RedisStreamBroker(url=URL)
AT_ONCE = 100


@broker.task
async def noop() -> None:
    ticks.tick()


@broker.task
async def sleep() -> None:
    ticks.begin()
    await asyncio.sleep(SLEEP)
    ticks.tick()


@broker.task
async def stamp(sent: float) -> None:
    ticks.delay(sent)


JOBS = {"noop": noop, "sleep": sleep, "stamp": stamp}


class Producer(AsyncProducer):
    async def open(self) -> None:
        await broker.startup()

    async def close(self) -> None:
        await broker.shutdown()

    async def one(self, job: str, *args: float) -> object:
        return await JOBS[job].kiq(*args)

    async def many(self, job: str, count: int) -> None:
        kiq = JOBS[job].kiq
        for start in range(0, count, AT_ONCE):
            await asyncio.gather(*(kiq() for _ in range(min(AT_ONCE, count - start))))


PRODUCERS: Producers = {"async": Producer}


def worker(processes: int, concurrency: int, job: str) -> list[str]:  # noqa: ARG001 - one for all
    return [
        str(Path(sys.executable).with_name("taskiq")),
        "worker",
        f"{__package__}.taskiq:broker",
        *("--workers", str(processes), "--max-async-tasks", str(concurrency)),
        *("--log-level", "WARNING"),
    ]
