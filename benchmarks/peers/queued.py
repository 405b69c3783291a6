"""queued, as its users run it: ``queued start`` with queue.yaml, everything at its default.

Leases, fencing, attempts, metrics, timeouts, logs, uvloop: nothing is switched off or on; only
``processes``, ``concurrency`` and the port of HTTP (a free one) are set. Fastest way to enqueue:
``queue.bulk``. On SQLite the same, with the driver's default of WAL and ``synchronous=FULL``.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path

from queued import Job, Queue

from . import ticks
from .base import SLEEP, URL, AsyncProducer, Producers, SyncProducer

QUEUE = "bench"
CONNECTION = URL if "://" in URL else f"sqlite:///{URL}"
CONFIG = """\
connection: {connection}
imports: [peers.queued]
http: {{listen: "127.0.0.1:{port}"}}
queues:
  {queue}: {{processes: {processes}, concurrency: {concurrency}}}
"""


class Noop(Job):
    queue = QUEUE

    async def handle(self) -> None:
        ticks.tick()


class Plain(Job):
    queue = QUEUE

    def handle(self) -> None:
        ticks.tick_in_thread()


class Sleep(Job):
    queue = QUEUE

    async def handle(self) -> None:
        ticks.begin()
        await asyncio.sleep(SLEEP)
        ticks.tick()


class Stamp(Job):
    queue = QUEUE
    sent: float

    async def handle(self) -> None:
        ticks.delay(self.sent)


JOBS: dict[str, type[Job]] = {"noop": Noop, "plain": Plain, "sleep": Sleep}


def _job(name: str, args: tuple[float, ...]) -> Job:
    return Stamp(sent=args[0]) if args else JOBS[name]()


class Awaited(AsyncProducer):
    async def open(self) -> None:
        self.queue = Queue(CONNECTION)

    async def close(self) -> None:
        await self.queue.close()

    async def one(self, job: str, *args: float) -> object:
        return await self.queue.push(_job(job, args))

    async def many(self, job: str, count: int) -> None:
        made = JOBS[job]
        await self.queue.bulk([made() for _ in range(count)])


class Blocking(SyncProducer):
    def __init__(self) -> None:
        self.queue = Queue(CONNECTION).sync

    def one(self, job: str, *args: float) -> object:
        return self.queue.push(_job(job, args))


PRODUCERS: Producers = {"async": Awaited, "sync": Blocking}


def worker(processes: int, concurrency: int, job: str) -> list[str]:  # noqa: ARG001 - one for all
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = Path(os.environ["BENCH_FOLDER"], "queue.yaml")
    config.write_text(
        CONFIG.format(
            connection=CONNECTION,
            port=port,
            queue=QUEUE,
            processes=processes,
            concurrency=concurrency,
        )
    )
    return [str(Path(sys.executable).with_name("queued")), "start", "-c", str(config)]
