"""What an idle daemon costs, by workers and by queues: commands, connections, processor, memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import descendants, group, memory, processor_seconds
from benchmarks.scenarios.commands import monitored
from benchmarks.server import Server

START_WITHIN = 60.0
SETTLE = 5.0
"""Seconds from the last worker's start to the first look."""
JOBS = """\
from queued import Job


class Noop(Job):
    async def handle(self) -> None: ...
"""


@dataclass(frozen=True, slots=True)
class Fleet:
    """One daemon at rest, everything at its default."""

    queues: int
    workers: int
    """Of all queues together."""
    commands: float
    """That clients send, a second."""
    connections: int
    processor: float
    """Per cent of a core, all processes."""
    pss: float
    """MB, all processes."""
    monitor: float
    """MB of the monitor alone."""
    master: float
    """MB of the master alone."""


def measure(
    server: Server,
    folder: Path,
    shapes: Sequence[tuple[int, int]],
    seconds: float,
    say: Callable[[str], None],
) -> list[Fleet]:
    """Start a daemon of each shape in turn: so many queues, with so many workers each."""
    fleets = []
    for queues, each in shapes:
        server.flush()
        fleets.append(_measure(server, folder, queues, each, seconds))
        say(f"{fleets[-1]}")
    return fleets


def _measure(server: Server, folder: Path, queues: int, each: int, seconds: float) -> Fleet:
    (folder / "bench_jobs.py").write_text(JOBS)
    pools = "".join(f"  q{number}: {{processes: {each}}}\n" for number in range(queues))
    config = folder / "queue.yaml"
    config.write_text(
        f"connection: {server.url}\nimports: [bench_jobs]\n"
        f'http: {{listen: "127.0.0.1:0"}}\nqueues:\n{pools}'
    )
    queued = Path(sys.executable).with_name("queued")
    environment = os.environ | {"QUEUED_RUNTIME_DIR": str(folder / "run")}
    command: list[str | Path] = [queued, "start", "-c", config]
    with group(command, folder, environment, folder / "daemon.log") as master:
        until_running([queued, "status", "--json", "-c", config], environment, queues * each)
        time.sleep(SETTLE)
        pids = [master.pid, *descendants(master.pid)]
        busy, began = processor_seconds(pids), time.monotonic()
        with monitored(server) as counted:
            time.sleep(seconds)
        passed = time.monotonic() - began
        busy = processor_seconds(pids) - busy
        with server.client() as client:
            connections = client.info("clients")["connected_clients"] - 1
        [monitor] = [pid for pid in pids if "monitor" in title(pid)]
        return Fleet(
            queues,
            queues * each,
            counted.sent / passed,
            connections,
            100 * busy / passed,
            memory(pids).pss,
            memory([monitor]).pss,
            memory([master.pid]).pss,
        )


def until_running(status: Sequence[str | Path], environment: dict[str, str], workers: int) -> None:
    deadline = time.monotonic() + START_WITHIN
    while time.monotonic() < deadline:
        asked = subprocess.run(status, env=environment, capture_output=True, text=True, check=False)
        if asked.returncode == 0:
            pools = json.loads(asked.stdout)["pools"].values()
            running = [
                one for pool in pools for one in pool["workers"] if one["state"] == "running"
            ]
            if len(running) == workers:
                return
        time.sleep(0.2)
    raise TimeoutError(f"{workers} workers did not start: {asked.stdout or asked.stderr}")


def title(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().partition("\0")[0]
