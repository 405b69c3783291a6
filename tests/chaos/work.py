"""The jobs of the chaos tests. Each writes what happens to it to the file $LEDGER.

A daemon imports a copy of this file as ``work`` (see ``ledger.WORK``), the producer imports it from
here; the wire names are the same. One line is one write: ``word id attempt pid
monotonic-seconds``. A kill can cut it short all the same, where it crosses from one page to the
next; so each line begins with an end of line, and what was cut off stands by itself.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import time

from queued import Fail, Job


def note(job: Job, word: str) -> None:
    line = f"\n{word} {job.job_id} {job.attempts} {os.getpid()} {time.monotonic():.6f}\n"
    file = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, line.encode())
    os.close(file)


class Quick(Job):
    name = "chaos.quick"

    async def handle(self) -> None:
        note(self, "begin")
        note(self, "end")


class Sleeps(Job):
    name = "chaos.sleeps"
    seconds: float = 0.05

    async def handle(self) -> None:
        note(self, "begin")
        await asyncio.sleep(self.seconds)
        note(self, "end")


class Waits(Job):
    """Runs until a file is there, so that a test says what happens meanwhile."""

    name = "chaos.waits"
    path: str

    async def handle(self) -> None:
        note(self, "begin")
        while not os.path.exists(self.path):  # noqa: PTH110, ASYNC240, ASYNC110 - a test's own
            await asyncio.sleep(0.01)
        note(self, "end")


class Plain(Job):
    """A plain function, so it runs in a thread."""

    name = "chaos.plain"
    seconds: float = 0.02

    def handle(self) -> None:
        note(self, "begin")
        time.sleep(self.seconds)
        note(self, "end")


class Computes(Job):
    """Holds the event loop for a moment, as jobs do that compute."""

    name = "chaos.computes"
    seconds: float = 0.02

    async def handle(self) -> None:
        note(self, "begin")
        until = time.process_time() + self.seconds
        while time.process_time() < until:
            sum(range(1_000))
        note(self, "end")


class Flaky(Job):
    """Raises in its first runs, then succeeds."""

    name = "chaos.flaky"
    max_tries = 4
    backoff = (0.1, 0.3, 0.5)
    failures: int = 2

    async def handle(self) -> None:
        note(self, "begin")
        await asyncio.sleep(0.01)
        if self.attempts <= self.failures:
            note(self, "error")
            raise ValueError(f"run {self.attempts} fails")
        note(self, "end")


class Fails(Job):
    """Raises in each run, so it ends among the failed; ``failed()`` is called then."""

    name = "chaos.fails"
    max_tries = 2
    backoff = 0.1

    async def handle(self) -> None:
        note(self, "begin")
        note(self, "error")
        raise ValueError("never well")

    async def failed(self, exception: Exception) -> None:
        note(self, "hook")


class Refuses(Job):
    """Asks to be failed at once."""

    name = "chaos.refuses"

    def handle(self) -> None:
        note(self, "begin")
        note(self, "error")
        raise Fail("not this one")


class Blocks(Job):
    """Holds the event loop beyond its timeout, each time: its worker is killed for it."""

    name = "chaos.blocks"
    timeout = 0.5
    max_tries = 1

    async def handle(self) -> None:
        note(self, "begin")
        note(self, "overruns")
        time.sleep(3600)  # noqa: ASYNC251 - it is what this job is for


class Swallows(Job):
    """Refuses to be cancelled: its worker is killed for it, and its neighbours get a grace."""

    name = "chaos.swallows"
    timeout = 0.5
    max_tries = 1

    async def handle(self) -> None:
        note(self, "begin")
        note(self, "overruns")
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                continue


class DiesOnce(Job):
    """Takes its worker along the first time, in one of three ways, and succeeds the next time."""

    name = "chaos.dies_once"
    how: str = "segfault"

    async def handle(self) -> None:
        note(self, "begin")
        await asyncio.sleep(0.01)
        if self.attempts == 1:
            note(self, "dies")
            die(self.how)
        note(self, "end")


class Poison(Job):
    """Takes its worker along each time."""

    name = "chaos.poison"
    how: str = "kill"

    async def handle(self) -> None:
        note(self, "begin")
        note(self, "dies")
        die(self.how)


def die(how: str) -> None:
    if how == "segfault":
        ctypes.string_at(0)
    if how == "exit":
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


ENDS_DONE = frozenset({"quick", "sleeps", "waits", "plain", "computes", "flaky", "dies_once"})
"""Kinds that succeed in the end, unless faults convict them (three crashes while alone)."""
ENDS_FAILED = frozenset({"fails", "refuses", "blocks", "swallows", "poison"})
