"""A daemon whose master is tried, and jobs that tell on it; ``conftest.make_master`` makes it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from queued import Job, Queue
from queued.daemon.master.control_client import ControlClient
from queued.errors import ControlError
from tests.process.harness import Daemon

CONFIG = """
connection: sqlite:///queued.db
imports: [work]
http: {listen: "127.0.0.1:0"}
log: {format: json}
shutdown_grace: 600s
queues:
  default: {processes: 2, concurrency: 1, sleep: 5}
  # One at a time: a worker that looks for more may be in a transaction when a job takes the GIL,
  # as it may be at its start, and the file stays locked.
  other: {processes: 1, concurrency: 1, sleep: 5, env: {POOL: other}}
"""
JOBS = """
import asyncio, ctypes, os
from pathlib import Path
from queued import Job

def note(job, what):
    with open(f"{type(job).__name__}-{what}", "a") as file:
        file.write(f"{job.job_id} {os.getpid()}\\n")

class Slow(Job):
    name = "master.Slow"
    async def handle(self):
        note(self, "began")
        while not Path("release").exists():
            await asyncio.sleep(0.01)
        note(self, "done")

class Quick(Job):
    name = "master.Quick"
    async def handle(self):
        note(self, "done")

class HoldsTheGil(Job):
    name = "master.HoldsTheGil"
    async def handle(self):
        await asyncio.sleep(1)  # what the worker does at its start
        note(self, "began")
        if not Path("release").exists():
            ctypes.PyDLL(None).sleep(600)
        note(self, "done")
"""


def kind(label: str) -> type[Job]:
    """Return the producer's side of a job, whose code only the daemon has."""

    class Kind(Job):
        name = f"master.{label}"

        async def handle(self) -> None: ...

    return Kind


KINDS = {label: kind(label) for label in ("Slow", "Quick", "HoldsTheGil", "Logs", "Chats")}


class Quickly(Daemon):
    """Asked by this process itself: a command takes most of a second."""

    def status(self) -> dict[str, Any]:
        return ControlClient(self.config, self.environment).request("status", timeout=30.0)

    def is_ready(self) -> bool:
        try:
            return super().is_ready()
        except ControlError:
            return False


Make = Callable[..., Daemon]


def hurried(folder: Path, module: str, **constants: float) -> dict[str, str]:
    """Return the environment in which a module of the daemon has other constants."""
    site = folder / "site"
    site.mkdir()
    lines = [
        f"import queued.{module} as module",
        *(f"module.{k} = {v}" for k, v in constants.items()),
    ]
    (site / "sitecustomize.py").write_text("\n".join(lines))
    return {"PYTHONPATH": str(site)}


def push(running: Daemon, label: str, queue: str | None = None) -> str:
    async def pushed() -> str:
        async with Queue(f"sqlite:///{running.folder}/queued.db") as producer:
            return (await producer.push(KINDS[label](), queue=queue)).id

    return asyncio.run(pushed())


def lines(running: Daemon, name: str) -> list[tuple[str, int]]:
    """Return (id, pid) of what the jobs have noted."""
    path = running.folder / name
    words = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [(job_id, int(pid)) for job_id, pid in words]


def events(running: Daemon, name: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in running.output().splitlines() if line.startswith("{")]
    return [line for line in found if line["event"] == name]


def pids(running: Daemon, pool: str | None = None) -> set[int]:
    return {one["pid"] for one in running.workers(pool) if one["state"] == "running"}


def edit(running: Daemon, old: str, new: str) -> None:
    text = running.config.read_text()
    assert old in text
    running.config.write_text(text.replace(old, new))


def reload_succeeded(running: Daemon) -> bool | None:
    """Return what /metrics says of the last reload."""
    values = [
        line.split()[1]
        for line in running.get("/metrics")[1].splitlines()
        if line.startswith("queued_config_last_reload_successful ")
    ]
    return float(values[0]) == 1 if values else None
