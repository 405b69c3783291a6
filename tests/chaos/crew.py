"""A real daemon with jobs of a test's own; it is asked directly, since each command takes a while.

The jobs write what happens to them with ``note(self, word)``: a line ``id attempt pid`` in the file
``<class>-<word>`` of the daemon's folder. They wait for a file with ``until("name")``.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from queued.daemon.master.control_client import ControlClient
from queued.drivers import driver_for
from queued.drivers.base import Driver, FailedJob, JobInfo, NewJob
from queued.errors import ControlError
from queued.jobs.ids import new_id
from tests.process.harness import Daemon, is_alive, until

T = TypeVar("T")

CONFIG = """
connection: "{url}"
imports: [work]
http: {{listen: "127.0.0.1:0"}}
log: {{format: json}}
shutdown_grace: 1s
queues:
"""
PRELUDE = """
import asyncio, ctypes, os, resource, signal, socket, sys, threading, time
from pathlib import Path
from queued import Job

def note(job, word):
    line = f"{job.job_id} {job.attempts} {os.getpid()}\\n".encode()
    file = os.open(f"{type(job).__name__}-{word}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, line)
    os.close(file)

async def until(name):
    while not Path(name).exists():
        await asyncio.sleep(0.01)
"""


class Line(NamedTuple):
    """What a job wrote."""

    id: str
    attempt: int
    pid: int


class Crew(Daemon):
    """The daemon. ``queues`` are lines of queue.yaml below ``queues:``."""

    def __init__(self, folder: Path, url: str, queues: str, jobs: str) -> None:
        super().__init__(folder, CONFIG.format(url=url) + queues, jobs=PRELUDE + jobs)
        self.url = url

    # its back-end

    def push(self, job: str, queue: str, times: int = 1, **values: Any) -> list[str]:
        """Enqueue a job of a class so many times; return the ids."""
        return self.push_together(queue, [job] * times, **values)

    def push_together(self, queue: str, jobs: Sequence[str], **values: Any) -> list[str]:
        """Enqueue jobs of several classes in one step, so that one worker gets them all."""
        body = json.dumps(values).encode()
        payloads = [b'{"v":1,"job":"work.%s"}\n%s' % (job.encode(), body) for job in jobs]
        new = [NewJob(new_id(), payload) for payload in payloads]
        self.ask(lambda driver: driver.enqueue(queue, new))
        return [job.id for job in new]

    def find(self, job_id: str) -> JobInfo | None:
        return self.ask(lambda driver: driver.find(job_id))

    def failed(self, queue: str) -> list[FailedJob]:
        return self.ask(lambda driver: driver.failed(queue))

    def failure(self, queue: str) -> tuple[FailedJob, dict[str, Any]]:
        """Wait for the one failed job of a queue; return it and its record."""
        (failed,) = until(lambda: self.failed(queue), f"a failed job in {queue}", every=0.1)
        return failed, json.loads(failed.record)

    def ask(self, question: Callable[[Driver], Awaitable[T]]) -> T:
        async def asked() -> T:
            driver = driver_for(self.url)
            await driver.open()
            try:
                return await question(driver)
            finally:
                await driver.close()

        return asyncio.run(asked())

    # its jobs

    def lines(self, name: str) -> list[Line]:
        path = self.folder / name
        if not path.exists():
            return []
        found = [line.split() for line in path.read_text().splitlines()]
        return [Line(id_, int(attempt), int(pid)) for id_, attempt, pid in found]

    def until_lines(self, name: str, count: int = 1) -> list[Line]:
        return until(
            lambda: len(found := self.lines(name)) >= count and found, f"{count} lines in {name}"
        )

    def touch(self, name: str) -> None:
        (self.folder / name).touch()

    # its master

    def status(self) -> dict[str, Any]:
        client = ControlClient(self.config, self.environment)
        return client.request("status", timeout=30.0)

    def is_ready(self) -> bool:
        try:
            return super().is_ready()
        except ControlError:
            return False

    def exits(self, pool: str) -> dict[str, int]:
        """Return how many workers of a pool have ended, by reason."""
        counts: dict[str, int] = self.status()["pools"][pool]["exits"]
        return counts

    def pids(self, pool: str) -> set[int]:
        """Return the pids of a pool's workers that run."""
        return {one["pid"] for one in self.workers(pool) if one["state"] == "running"}

    def events(self, name: str, **values: Any) -> list[dict[str, Any]]:
        """Return the lines of the log with an event and these values."""
        lines = [json.loads(line) for line in self.output().splitlines() if line.startswith("{")]
        wanted = values | {"event": name}
        return [line for line in lines if wanted.items() <= line.items()]

    def zombies(self) -> list[int]:
        """Return the processes of this daemon that nobody has reaped."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [int(pid) for pid in children if not is_alive(int(pid)) and _exists(int(pid))]


def _exists(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")  # noqa: PTH110 - as plain as it gets
