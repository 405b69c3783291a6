"""SAQ on Redis, with hiredis and uvloop (installed here: its command takes the loop's policy).

``concurrency`` is set, everything else is at its default. It documents no way to enqueue in bulk;
``enqueue`` is awaited, as many at once as its ``max_concurrent_ops`` lets through (20), which is
faster than one after another.
"""

# mypy: disable-error-code="import-not-found, untyped-decorator"
# Its library is in its own venv only.
from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import uvloop
from saq import Queue

from . import ticks
from .base import CONCURRENCY, SLEEP, URL, AsyncProducer, Producers

AT_ONCE = 200

uvloop.install()
queue = Queue.from_url(URL)


async def noop(_context: Any) -> None:
    ticks.tick()


async def sleep(_context: Any) -> None:
    ticks.begin()
    await asyncio.sleep(SLEEP)
    ticks.tick()


async def stamp(_context: Any, *, sent: float) -> None:
    ticks.delay(sent)


settings = {"queue": queue, "functions": [noop, sleep, stamp], "concurrency": CONCURRENCY}


class Producer(AsyncProducer):
    async def open(self) -> None:
        await queue.connect()

    async def close(self) -> None:
        await queue.disconnect()

    async def one(self, job: str, *args: float) -> object:
        if args:
            return await queue.enqueue(job, sent=args[0])
        return await queue.enqueue(job)

    async def many(self, job: str, count: int) -> None:
        for start in range(0, count, AT_ONCE):
            some = min(AT_ONCE, count - start)
            await asyncio.gather(*(queue.enqueue(job) for _ in range(some)))


PRODUCERS: Producers = {"async": Producer}


def worker(processes: int, concurrency: int, job: str) -> list[str]:  # noqa: ARG001 - one for all
    saq = str(Path(sys.executable).with_name("saq"))
    return [saq, f"{__package__}.saq.settings", "--workers", str(processes)]
