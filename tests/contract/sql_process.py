"""A process of its own over one SQLite file, for the tests of ``test_sql_processes``.

    python -m tests.contract.sql_process ROLE URL [NAME]

It prints a line for each thing done, at once: what was printed had been acknowledged.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from subprocess import PIPE, Popen

from queued.drivers import driver_for
from queued.drivers.base import Driver, NewJob, Settlement
from tests.contract.steps import ack

QUEUE = "emails"
LIMIT = 60.0
"""Seconds that starting or finishing may take on a busy machine."""


def say(*words: object) -> None:
    print(*words, flush=True)


async def open_only(driver: Driver, _: str) -> None:
    say("open", *await driver.queues())


async def push(driver: Driver, name: str) -> None:
    """Push 20 jobs at a time until stdin is closed."""
    reading = asyncio.ensure_future(asyncio.to_thread(sys.stdin.read))
    number = 0
    while not reading.done():
        ids = [f"{name}-{number + n}" for n in range(20)]
        number += 20
        assert all(await driver.enqueue(QUEUE, [NewJob(job_id, b"x" * 100) for job_id in ids]))
        say(*ids)


async def work(driver: Driver, owner: str) -> None:
    """Reserve and acknowledge for ever, 10 at a time; print what was acknowledged."""
    nonce, held = 0, list[str]()
    finished: list[Settlement] = []
    say("working")
    while True:
        nonce += 1
        answer = await driver.exchange(QUEUE, owner, finished, want=10, nonce=nonce)
        assert answer.lost == []
        if held:
            say(*held)
        held, finished = [job.id for job in answer.jobs], [ack(job) for job in answer.jobs]
        if not held:
            nonce += 1
            answer = await driver.listen(QUEUE, owner, seconds=0.1, want=10, nonce=nonce)
            held, finished = [job.id for job in answer.jobs], [ack(job) for job in answer.jobs]


async def idle(driver: Driver, owner: str) -> None:
    """Find nothing, then wait for up to a minute for one job."""
    assert not (await driver.exchange(QUEUE, owner, want=1, nonce=1)).jobs
    await driver.listen(QUEUE, owner, seconds=0, want=1, nonce=2)
    say("waiting")
    nonce, begun = 2, time.monotonic()
    async with asyncio.timeout(50):
        while True:
            nonce += 1
            answer = await driver.listen(QUEUE, owner, seconds=60, want=1, nonce=nonce)
            if answer.jobs:
                say(answer.jobs[0].id, time.monotonic() - begun < 45)
                return


ROLES = {"open": open_only, "push": push, "work": work, "idle": idle}


class Process:
    """One such process; what it prints goes to a file, so that it never waits for a reader."""

    def __init__(self, folder: Path, role: str, url: str, name: str = "") -> None:
        self.name = name
        self._output = folder / f"{role}-{name}.out"
        command = [sys.executable, "-m", "tests.contract.sql_process", role, url, name]
        with self._output.open("wb") as output:
            root = Path(__file__).resolve().parents[2]
            self._popen = Popen(command, cwd=root, stdin=PIPE, stdout=output)

    def lines(self) -> list[list[str]]:
        """The complete lines so far, each as its words."""
        whole, _, _ = self._output.read_text().rpartition("\n")
        return [line.split() for line in whole.split("\n")] if whole else []

    async def printed(self, count: int) -> list[list[str]]:
        """Wait until it has printed so many lines."""
        async with asyncio.timeout(LIMIT):
            while True:
                ended = self._popen.poll() is not None
                if len(lines := self.lines()) >= count:
                    return lines
                assert not ended
                await asyncio.sleep(0.01)

    async def finish(self) -> int:
        """Close its stdin, wait for its end, return its exit code."""
        await asyncio.to_thread(self._popen.communicate, timeout=LIMIT)
        return self._popen.returncode

    def kill(self) -> None:
        self._popen.kill()
        self._popen.communicate()


async def main(arguments: Sequence[str]) -> None:
    role, url, name = arguments
    driver = driver_for(url)
    await driver.open()
    try:
        await ROLES[role](driver, name)
    finally:
        await driver.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
