"""What the soak breaks: a back-end of its own and a daemon over it, both to be killed at will."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from queued.daemon.master.control_client import ControlClient
from queued.errors import ControlError
from tests.chaos.backends import Backend
from tests.chaos.ledger import WORK, Ledger
from tests.process.harness import PATIENCE, Daemon, is_alive

QUEUES = ("fast", "slow", "plain", "rough")
LOOKS = 40
"""How often busy workers are looked for: for two seconds or more."""

CONFIG = """
connection: "{connection}"
imports: [work]
http: {{listen: "127.0.0.1:0"}}
shutdown_grace: 10s
defaults: {{sleep: 2, kill_grace: 0.5, timeout: 30}}
queues:
  fast: {{processes: 2, concurrency: 10}}
  slow: {{processes: 1, concurrency: {concurrency}}}
  plain: {{processes: 1, concurrency: 5}}
  rough: {{processes: 2, concurrency: 5}}
"""


class Stage:
    """A daemon in a folder of its own, under which ledgers change from round to round."""

    def __init__(self, folder: Path, backend: Backend) -> None:
        self.folder = folder
        self.backend = backend
        self.ledger: Ledger
        self._runs = folder / "runs"
        self.daemon = self._daemon(folder / "daemon")

    def _daemon(self, folder: Path) -> Daemon:
        folder.mkdir(parents=True)
        config = CONFIG.format(connection=self.backend.url, concurrency=20)
        return Daemon(folder, config, jobs=WORK, LEDGER=str(self._runs))

    def open_ledger(self, folder: Path) -> Ledger:
        """Let all that happens from now on be written to another folder."""
        self.ledger = Ledger(folder)
        following = self._runs.with_suffix(".next")
        following.symlink_to(self.ledger.runs_path)
        following.replace(self._runs)
        return self.ledger

    def another_host(self) -> Daemon:
        """Return a second daemon for the same queues, with an install id of its own."""
        return self._daemon(self.folder / f"host-{time.monotonic_ns()}")

    async def start(self, daemon: Daemon | None = None) -> None:
        """Start the daemon (or another one), and wait until its pools run."""
        daemon = daemon or self.daemon
        await asyncio.to_thread(daemon.start, ready=False)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            assert daemon.process
            if daemon.process.poll() is not None:
                raise AssertionError(f"the daemon ended:\n{daemon.output()[-2000:]}")
            status = await self.status(daemon)
            if status and status["state"] == "running" and status["driver_up"]:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"the daemon is not ready:\n{daemon.output()[-2000:]}")

    async def ask(self, command: str, daemon: Daemon | None = None, **arguments: Any) -> Any:
        """Ask the daemon on its control socket; None: it does not answer, or refuses."""
        daemon = daemon or self.daemon
        client = ControlClient(daemon.config, daemon.environment)
        try:
            return await asyncio.to_thread(client.request, command, timeout=PATIENCE, **arguments)
        except ControlError:
            return None

    async def status(self, daemon: Daemon | None = None) -> dict[str, Any] | None:
        answer: dict[str, Any] | None = await self.ask("status", daemon)
        return answer

    async def workers(self, daemon: Daemon | None = None) -> list[int]:
        """Return the pids of the workers that live."""
        return sorted(await self._workers(daemon))

    async def victims(self, count: int) -> list[int]:
        """Return the pids to choose so many workers from: those that run jobs, if they suffice.

        They are waited for: a kill that cuts no job short proves nothing.
        """
        for _ in range(LOOKS):
            workers = await self._workers()
            busy = sorted(pid for pid, jobs in workers.items() if jobs)
            if len(busy) >= count:
                return busy
            await asyncio.sleep(0.05)
        return sorted(workers)

    async def _workers(self, daemon: Daemon | None = None) -> dict[int, int]:
        """Return how many jobs each worker runs, by pid."""
        status = await self.status(daemon)
        pools = status["pools"].values() if status else ()
        workers = (one for pool in pools for one in pool["workers"])
        return {one["pid"]: one.get("busy", 0) for one in workers if one["pid"]}

    async def monitor(self) -> list[int]:
        """Return the pid of the monitor, if it lives."""
        status = await self.status()
        pid = status and (status["monitor"] or {}).get("pid")
        return [pid] if pid else []

    async def template(self) -> list[int]:
        """Return the pid of the template: the master's child that is no worker and no monitor."""
        pids = await asyncio.to_thread(_children, self.daemon.pid)  # before: one may be born
        monitor = await self.monitor()
        if not monitor:
            return []
        known = {*await self.workers(), *monitor}
        return [pid for pid in pids if pid not in known and is_alive(pid)][:1]

    async def gone(self, pids: list[int]) -> None:
        """Wait until processes that were killed are no more."""
        deadline = time.monotonic() + PATIENCE
        while any(is_alive(pid) for pid in pids):
            assert time.monotonic() < deadline, f"still there after {PATIENCE} s: {pids}"
            await asyncio.sleep(0.005)

    def close(self) -> None:
        self.daemon.clean_up()


def killed(pid: int, signum: int) -> bool:
    """Send a signal; False: the process was gone already, reaped or not."""
    if not is_alive(pid):
        return False
    try:
        os.kill(pid, signum)
    except ProcessLookupError:
        return False
    return True


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except FileNotFoundError:
        return []
    return [int(child) for child in text.split()]
