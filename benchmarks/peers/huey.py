"""huey: a consumer of processes for no-ops, one of threads for plain handlers.

Its documentation advises processes where the CPU is the limit and threads where waiting is. A
process runs one job at a time; more of them than workers are asked for would be more workers, so
``concurrency`` is the number of threads only. Results are off (``results=False``), as nobody reads
them, and so are periodic tasks (``--no-periodic``) and lines per job (``--quiet``). It documents
no way to enqueue in bulk: one call after another. It needs no event loop. ``SqliteHuey`` is at its
defaults: WAL, with SQLite's own ``synchronous=FULL``, each call a transaction.
"""

# mypy: disable-error-code="import-not-found, untyped-decorator"
# Its library is in its own venv only.
from __future__ import annotations

import sys
from pathlib import Path

from huey import RedisHuey, SqliteHuey

from . import ticks
from .base import SYSTEM, URL, Producers, SyncProducer

if SYSTEM == "huey-sqlite":
    app = SqliteHuey("bench", filename=URL, results=False)
else:
    app = RedisHuey("bench", url=URL, results=False)


@app.task()
def noop() -> None:
    ticks.tick()


@app.task()
def plain() -> None:
    ticks.tick_in_thread()


@app.task()
def stamp(sent: float) -> None:
    ticks.delay(sent)


JOBS = {"noop": noop, "plain": plain, "stamp": stamp}


class Producer(SyncProducer):
    def one(self, job: str, *args: float) -> object:
        return JOBS[job](*args)


PRODUCERS: Producers = {"sync": Producer}


def worker(processes: int, concurrency: int, job: str) -> list[str]:
    consumer = str(Path(sys.executable).with_name("huey_consumer"))
    kind, count = ("thread", concurrency) if job == "plain" else ("process", processes)
    return [
        *(consumer, f"{__package__}.huey.app", "--quiet", "--no-periodic"),
        *("-k", kind, "-w", str(count)),
    ]
