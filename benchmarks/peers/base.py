"""What an adapter offers, and where it runs.

An adapter is a module with a ``PRODUCERS`` table and a function ``worker``. Its docstring says
what was chosen for its system and why. Its jobs are called by these names:

    noop     does nothing but tick: a coroutine function where the system runs those by itself
    plain    the same as a plain function, in a thread
    sleep    sleeps 100 ms, as a coroutine function
    stamp    says how long it took from ``sent`` (its argument) to its start
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod

URL = os.environ.get("BENCH_URL", "")
"""The back-end: ``redis://…``, or the path of an SQLite file."""
SYSTEM = os.environ.get("BENCH_SYSTEM", "")
"""The name in ``systems``, where one adapter serves several."""
CONCURRENCY = int(os.environ.get("BENCH_CONCURRENCY", "32"))
"""Jobs at a time for each worker process, for systems that take it from their settings."""
SLEEP = 0.1
"""Seconds that the job ``sleep`` takes."""


class SyncProducer(ABC):
    """Enqueues with calls that block."""

    @abstractmethod
    def one(self, job: str, *args: float) -> object:
        """Enqueue a job, and return once the back-end has it."""

    def many(self, job: str, count: int) -> None:
        """Enqueue jobs in the fastest documented way; here, where there is none, one by one."""
        for _ in range(count):
            self.one(job)


class AsyncProducer(ABC):
    """Enqueues with calls that are awaited."""

    async def open(self) -> None:  # noqa: B027 - not all need it
        """Connect."""

    async def close(self) -> None:  # noqa: B027
        """Disconnect."""

    @abstractmethod
    async def one(self, job: str, *args: float) -> object:
        """Enqueue a job, and return once the back-end has it."""

    async def many(self, job: str, count: int) -> None:
        """Enqueue jobs in the fastest documented way; here, where there is none, one by one."""
        for _ in range(count):
            await self.one(job)


Producers = dict[str, type[SyncProducer] | type[AsyncProducer]]
"""By style, ``sync`` or ``async``; the first is the one that fills queues."""
