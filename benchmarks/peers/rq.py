"""RQ on Redis with ``SimpleWorker``, which runs jobs without a fork for each: its fastest.

One job at a time for each process, as RQ works; ``rq worker-pool`` runs several. Results are not
kept (``result_ttl=0``), as nobody reads them, and no line is logged per job (``--quiet``). Fastest
documented way to enqueue: ``enqueue_many``, one pipeline for a thousand jobs.
"""

# mypy: disable-error-code="import-not-found, untyped-decorator"
# Its library is in its own venv only.
from __future__ import annotations

import sys
from pathlib import Path

from redis import Redis
from rq import Queue

from . import ticks
from .base import URL, Producers, SyncProducer

AT_ONCE = 1_000


def noop() -> None:
    ticks.tick()


def stamp(sent: float) -> None:
    ticks.delay(sent)


JOBS = {"noop": noop, "stamp": stamp}


class Producer(SyncProducer):
    def __init__(self) -> None:
        self.queue = Queue("bench", connection=Redis.from_url(URL))

    def one(self, job: str, *args: float) -> object:
        return self.queue.enqueue(JOBS[job], args=args, result_ttl=0)

    def many(self, job: str, count: int) -> None:
        for start in range(0, count, AT_ONCE):
            some = min(AT_ONCE, count - start)
            self.queue.enqueue_many(
                [Queue.prepare_data(JOBS[job], result_ttl=0) for _ in range(some)]
            )


PRODUCERS: Producers = {"sync": Producer}


def worker(processes: int, concurrency: int, job: str) -> list[str]:  # noqa: ARG001 - one for all
    rq = str(Path(sys.executable).with_name("rq"))
    kind = ["--url", URL, "--worker-class", "rq.SimpleWorker", "--quiet"]
    if processes == 1:
        return [rq, "worker", *kind, "bench"]
    return [rq, "worker-pool", "--num-workers", str(processes), *kind, "bench"]
