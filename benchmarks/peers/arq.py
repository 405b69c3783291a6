"""arq on Redis, with hiredis and uvloop (installed here: its command takes the loop's policy).

``max_jobs`` is set, results are not kept (``keep_result=0``), as nobody reads them, and no line is
logged per job (``--custom-log-dict``); everything else is at its default. It documents no way to
enqueue in bulk: ``enqueue_job`` is awaited, a hundred at once, which is faster than one after
another. Its command runs one process, so two workers are two of them.
"""

# mypy: disable-error-code="import-not-found, untyped-decorator"
# Its library is in its own venv only.
from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import uvloop
from arq import create_pool
from arq.connections import RedisSettings

from . import ticks
from .base import CONCURRENCY, SLEEP, URL, AsyncProducer, Producers

AT_ONCE = 100

LOGS = {"version": 1, "loggers": {"arq": {"level": "WARNING"}}}

uvloop.install()


async def noop(_context: Any) -> None:
    ticks.tick()


async def sleep(_context: Any) -> None:
    ticks.begin()
    await asyncio.sleep(SLEEP)
    ticks.tick()


async def stamp(_context: Any, sent: float) -> None:
    ticks.delay(sent)


class WorkerSettings:
    functions = (noop, sleep, stamp)
    redis_settings = RedisSettings.from_dsn(URL or "redis://localhost")
    max_jobs = CONCURRENCY
    keep_result = 0


class Producer(AsyncProducer):
    async def open(self) -> None:
        self.pool = await create_pool(WorkerSettings.redis_settings)

    async def close(self) -> None:
        await self.pool.aclose()

    async def one(self, job: str, *args: float) -> object:
        return await self.pool.enqueue_job(job, *args)

    async def many(self, job: str, count: int) -> None:
        for start in range(0, count, AT_ONCE):
            some = min(AT_ONCE, count - start)
            await asyncio.gather(*(self.pool.enqueue_job(job) for _ in range(some)))


PRODUCERS: Producers = {"async": Producer}


def worker(processes: int, concurrency: int, job: str) -> list[str]:  # noqa: ARG001 - one for all
    module = f"{__package__}.arq"
    program = Path(sys.executable).with_name("arq")
    arq = f"{program} {module}.WorkerSettings --custom-log-dict {module}.LOGS"
    return ["sh", "-c", " & ".join([arq] * processes) + " & wait"]
