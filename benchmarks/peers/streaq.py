"""streaQ on Redis streams, with uvloop through ``anyio_kwargs``.

``concurrency`` is set, there is no line per job (``silent``), everything else is at its default.
Fastest documented way to enqueue: ``enqueue_many``, one pipeline for a thousand tasks.
"""

# mypy: disable-error-code="import-not-found, untyped-decorator"
# Its library is in its own venv only.
from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from streaq import Worker

from . import ticks
from .base import CONCURRENCY, SLEEP, URL, AsyncProducer, Producers

AT_ONCE = 1_000

app = Worker(redis_url=URL, concurrency=CONCURRENCY, anyio_kwargs={"use_uvloop": True})


@app.task(silent=True)
async def noop() -> None:
    ticks.tick()


@app.task(silent=True)
async def sleep() -> None:
    ticks.begin()
    await asyncio.sleep(SLEEP)
    ticks.tick()


@app.task(silent=True)
async def stamp(sent: float) -> None:
    ticks.delay(sent)


JOBS = {"noop": noop, "sleep": sleep, "stamp": stamp}


class Producer(AsyncProducer):
    async def open(self) -> None:
        await app.__aenter__()

    async def close(self) -> None:
        await app.__aexit__(None, None, None)

    async def one(self, job: str, *args: float) -> object:
        return await JOBS[job].enqueue(*args)

    async def many(self, job: str, count: int) -> None:
        enqueue = JOBS[job].enqueue
        for start in range(0, count, AT_ONCE):
            some = min(AT_ONCE, count - start)
            await app.enqueue_many([enqueue() for _ in range(some)])


PRODUCERS: Producers = {"async": Producer}


def worker(processes: int, concurrency: int, job: str) -> list[str]:  # noqa: ARG001 - one for all
    streaq = str(Path(sys.executable).with_name("streaq"))
    return [streaq, "run", f"{__package__}.streaq:app", "--workers", str(processes)]
