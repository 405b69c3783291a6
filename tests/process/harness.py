"""A daemon as its users run it: the ``queued`` command, a queue.yaml, real signals."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from queued.daemon.master.control_client import ControlClient
from queued.errors import ControlError

T = TypeVar("T")
QUEUED = Path(sys.executable).with_name("queued")
PATIENCE = 60.0
"""Seconds that a condition may take on a loaded machine; what fails here hangs."""


def until(
    condition: Callable[[], Any], what: str, seconds: float = PATIENCE, every: float = 0.02
) -> Any:
    """Call ``condition`` until it is true, and return its value."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s for {what}; last: {value!r}")
        time.sleep(every)


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie that its reaper has not collected yet does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def stopped_between_transactions(
    pids: Iterable[int], probe: Callable[[], T], refused: type[Exception]
) -> T:
    """Stop processes when none of them holds the lock of the database; return what ``probe`` does.

    :param probe: writes to the database; raises ``refused`` while that is locked.
    """
    for _ in range(20):
        signal_all(pids, signal.SIGSTOP)
        with contextlib.suppress(refused):
            return probe()
        signal_all(pids, signal.SIGCONT)
        time.sleep(0.05)  # stopped again at once, it would never come to the end of what it is at
    raise AssertionError("one of them was within a transaction each time")


def signal_all(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        os.kill(pid, number)


class Daemon:
    """``queued start`` in a folder of its own, with every process of it findable by a mark."""

    program: tuple[str | Path, ...] = (QUEUED,)

    def __init__(self, folder: Path, config: str, *, jobs: str = "", **environment: str) -> None:
        self.folder = folder
        self.config = folder / "queue.yaml"
        self.config.write_text(config)
        if jobs:
            (folder / "work.py").write_text(jobs)
        self.mark = f"QUEUED_TEST_MARK={uuid.uuid4().hex}"
        name, value = self.mark.split("=")
        clean = {
            key: text
            for key, text in os.environ.items()
            if not key.startswith(("QUEUE_", "QUEUED_", "REDIS_", "DATABASE_"))
        }
        self.environment = clean | {
            name: value,
            "QUEUED_RUNTIME_DIR": str(folder / "run"),
            "PYTHONUNBUFFERED": "1",
            # bytecode tells sources apart by the second, in which a test rewrites its jobs
            "PYTHONDONTWRITEBYTECODE": "1",
            **environment,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.log = folder / "daemon.log"

    def start(self, *arguments: str, ready: bool = True) -> Daemon:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.program, "start", "-c", self.config, *arguments],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        if ready:
            until(self.is_ready, f"the daemon to be ready; its log:\n{self.output()}")
        return self

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run another ``queued`` command with the same configuration."""
        return subprocess.run(
            [*self.program, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=check,
            timeout=PATIENCE,
        )

    def status(self) -> dict[str, Any]:
        """Ask the daemon itself: the command would take half a second of processor each time."""
        return ControlClient(self.config, self.environment).request("status", timeout=PATIENCE)

    def workers(self, pool: str | None = None) -> list[dict[str, Any]]:
        pools = self.status()["pools"]
        return [
            worker
            for name, details in pools.items()
            for worker in details["workers"]
            if pool in (None, name)
        ]

    def until_staffed(self) -> set[int]:
        """Wait until every worker runs, and return their pids: a pool is ready with its first."""

        def staff() -> set[int]:
            workers = self.workers()
            up = all(one["state"] == "running" for one in workers)
            return {one["pid"] for one in workers} if up else set()

        pids: set[int] = until(staff, "every worker")
        return pids

    @property
    def address(self) -> str:
        return f"http://{self.status()['http']}"

    def get(self, path: str) -> tuple[int, str]:
        """Fetch a page of the daemon; (0, reason) when it does not answer."""
        try:
            with urllib.request.urlopen(self.address + path, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except (OSError, ControlError) as error:
            return 0, str(error)

    def metrics(self) -> str:
        """Return the page of the metrics, once the monitor has everybody's counts."""

        def page() -> str | None:
            status, text = self.get("/metrics")
            return text if status == 200 and "queued_attempts_total" in text else None

        text: str = until(page, "the metrics")
        return text

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of the series of a metric that have these labels."""
        total = 0.0
        for line in self.metrics().splitlines():
            found = re.fullmatch(rf"queued_{name}\{{(.*)\}} (\S+)", line)
            if found and labels.items() <= dict(re.findall(r'(\w+)="([^"]*)"', found[1])).items():
                total += float(found[2])
        return total

    def is_ready(self) -> bool:
        assert self.process
        assert self.process.poll() is None, f"the daemon ended:\n{self.output()}"
        return self.get("/readyz")[0] == 200

    def output(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def signal(self, number: int) -> None:
        assert self.process
        self.process.send_signal(number)

    def wait(self, seconds: float = PATIENCE) -> int:
        """Return the exit code; what does not end is told of."""
        assert self.process
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            still = "\n".join(map(_doing, self.processes()))
            raise AssertionError(f"it did not end within {seconds} s:\n{still}") from None

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.wait()

    def processes(self) -> list[int]:
        """Find every living process of this daemon, however it was started."""
        return [pid for pid in _all_pids() if _has_mark(pid, self.mark) and is_alive(pid)]

    def clean_up(self) -> None:
        while pids := self.processes():  # one of them may be forking while it is looked for
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if self.process:
            self.process.wait(PATIENCE)


def _all_pids() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _has_mark(pid: int, mark: str) -> bool:
    try:
        return mark.encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def _doing(pid: int) -> str:
    """Say what a process is and what it waits for in the kernel."""
    told = []
    for name in ("cmdline", "wchan", "syscall"):
        with contextlib.suppress(OSError):
            told.append(Path(f"/proc/{pid}/{name}").read_text().replace("\0", " ").strip())
    return f"{pid} {' | '.join(told)}"
