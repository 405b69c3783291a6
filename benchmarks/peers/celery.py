"""Celery on Redis with late acknowledgement, as the guarantee asks; results are ignored.

Its prefork pool, the default, with one process for each worker that is asked for. The prefetch
multiplier is 64, as its guide to optimising advises for short tasks. Gossip, mingle and heartbeat
are off (``--without-…``), as it advises where nobody reads them. It documents no way to enqueue in
bulk: one ``apply_async`` after another, over its connection pool.
"""

# mypy: disable-error-code="import-not-found, untyped-decorator"
# Its library is in its own venv only.
from __future__ import annotations

import sys
from pathlib import Path

from celery import Celery

from . import ticks
from .base import URL, Producers, SyncProducer

app = Celery("bench", broker=URL)
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=64,
    broker_connection_retry_on_startup=True,
)


@app.task
def noop() -> None:
    ticks.tick()


@app.task
def stamp(sent: float) -> None:
    ticks.delay(sent)


JOBS = {"noop": noop, "stamp": stamp}


class Producer(SyncProducer):
    def one(self, job: str, *args: float) -> object:
        return JOBS[job].apply_async(args)


PRODUCERS: Producers = {"sync": Producer}


def worker(processes: int, concurrency: int, job: str) -> list[str]:  # noqa: ARG001 - one for all
    celery = str(Path(sys.executable).with_name("celery"))
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    return [
        *(celery, "-A", f"{__package__}.celery", "worker", "--loglevel", "WARNING"),
        *("--concurrency", str(processes), *quiet),
    ]
