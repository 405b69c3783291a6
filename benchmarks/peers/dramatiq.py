"""dramatiq on Redis: plain actors in as many threads as the concurrency (``--threads``).

It runs functions in threads; coroutine functions would pass through one more thread. With 32 of
them no-ops were a third faster than with its default of 8: it prefetches twice their number.
Middleware is at its default. It documents no way to enqueue in bulk: one ``send`` after another.
"""

# mypy: disable-error-code="import-not-found, untyped-decorator"
# Its library is in its own venv only.
from __future__ import annotations

import sys
from pathlib import Path

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from . import ticks
from .base import URL, Producers, SyncProducer

broker = RedisBroker(url=URL)
dramatiq.set_broker(broker)


@dramatiq.actor
def noop() -> None:
    ticks.tick_in_thread()


@dramatiq.actor
def stamp(sent: float) -> None:
    ticks.delay(sent)


JOBS = {"noop": noop, "plain": noop, "stamp": stamp}


class Producer(SyncProducer):
    def one(self, job: str, *args: float) -> object:
        return JOBS[job].send(*args)


PRODUCERS: Producers = {"sync": Producer}


def worker(processes: int, concurrency: int, job: str) -> list[str]:  # noqa: ARG001 - one for all
    command = str(Path(sys.executable).with_name("dramatiq"))
    return [
        *(command, f"{__package__}.dramatiq:broker"),
        *("--processes", str(processes), "--threads", str(concurrency)),
    ]
