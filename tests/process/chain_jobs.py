"""Jobs of the tests of chains and batches. Each leaves lines in the file $LEDGER.

A daemon imports a copy of this file as ``work``, the tests dispatch from here.
"""

from __future__ import annotations

import asyncio
import os

from queued import Fail, Job


def note(*words: object) -> None:
    line = "\n" + " ".join(map(str, words)) + "\n"  # a kill may have cut the line before short
    file = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, line.encode())
    os.close(file)


class Step(Job):
    """A piece of work of some length that a kill may interrupt."""

    name = "chains.step"
    work: str
    number: int = 0
    seconds: float = 0.1

    async def handle(self) -> None:
        note("begin", self.work, self.number)
        await asyncio.sleep(self.seconds)
        note("end", self.work, self.number)


class Breaks(Job):
    """Fails for good, until the file $MENDED is there."""

    name = "chains.breaks"
    max_tries = 1
    work: str

    async def handle(self) -> None:
        if not os.path.exists(os.environ["MENDED"]):  # noqa: PTH110, ASYNC240 - it is a test's own
            raise Fail("not yet")
        note("end", self.work, 0)
