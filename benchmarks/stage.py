"""One system on stage: its back-end, flushed; its environment; its producer and its workers."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import watch
from benchmarks.processes import group
from benchmarks.server import Server
from benchmarks.systems import System

HERE = Path(__file__).parent
ENQUEUE_WITHIN = 300.0
OURS = ("QUEUE_", "QUEUED_", "REDIS_", "DATABASE_", "BENCH_", "PYTHON")
"""What is taken out of the environment, so that a shell's settings do not change a run."""


class Failed(RuntimeError):
    """A system could not do what was asked of it."""


@dataclass(slots=True)
class Worker:
    """A system's workers, running."""

    process: subprocess.Popen[bytes]
    ticks: watch.Ticks
    processes: int

    def until_done(self, total: int, patience: float = 60.0, cap: float = 1e9) -> float:
        """Wait until ``total`` jobs are done since the start, and return jobs a second."""
        samples = watch.until_done(self.ticks, total, self._lives, patience, cap)
        return watch.rate(samples, self.ticks.first, self.ticks.last, total, self.processes)

    def _lives(self) -> bool:
        return self.process.poll() is None


@dataclass(slots=True)
class Stage:
    """Where a system performs once. A new one for each measurement: nothing is left of others."""

    system: System
    python: Path
    server: Server
    folder: Path
    environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "ticks").mkdir(parents=True)
        if self.system.backend == "redis":
            self.server.flush()
        clean = {name: text for name, text in os.environ.items() if not name.startswith(OURS)}
        self.environment = clean | {
            "BENCH_SYSTEM": self.system.name,
            "BENCH_URL": self.url,
            "BENCH_FOLDER": str(self.folder),
            "BENCH_TICKS": str(self.folder / "ticks"),
            "QUEUED_RUNTIME_DIR": str(self.folder / "run"),
            # The adapters are imported as `peers.<adapter>`: as little as possible of this
            # repository is in the way of a peer's own imports.
            "PYTHONPATH": str(HERE),
        }

    def again(self) -> Stage:
        """Return the same stage, emptied, for another start; this one is not to be used then."""
        return Stage(self.system, self.python, self.server, self.folder)

    @property
    def url(self) -> str:
        return self.server.url if self.system.backend == "redis" else str(self.folder / "bench.db")

    @property
    def log(self) -> Path:
        return self.folder / "worker.log"

    def agent(self, verb: str, *args: object) -> dict[str, Any]:
        """Run a verb of the producer to its end.

        :raises Failed: with what it printed.
        """
        command = [*self._agent(verb), *map(str, args)]
        with self._explained():
            done = subprocess.run(
                command,
                cwd=self.folder,
                env=self.environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=ENQUEUE_WITHIN,
            )
        if done.returncode:
            raise Failed(f"{self.system.name} {verb}: {done.stderr[-1500:]}")
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer

    def enqueue(self, job: str, count: int, how: str = "many", style: str = "") -> float:
        """Enqueue jobs, and return how many a second."""
        rate: float = self.agent("enqueue", style, how, job, count)["rate"]
        return rate

    @contextlib.contextmanager
    def worker(self, processes: int, concurrency: int, job: str = "noop") -> Iterator[Worker]:
        """Run the system's own workers, started by its own command.

        :raises Failed: they ended, or stalled; with their log.
        """
        environment = self.environment | {"BENCH_CONCURRENCY": str(concurrency)}
        command = [*self._agent("worker"), str(processes), str(concurrency), job]
        with (
            self._explained(),
            group(command, self.folder, environment, self.log) as process,
        ):
            yield Worker(process, watch.Ticks(self.folder / "ticks"), processes)

    def _agent(self, verb: str) -> list[str]:
        return [str(self.python), "-m", "peers.agent", self.system.adapter, verb]

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (watch.Stalled, subprocess.TimeoutExpired) as error:
            log = self.log.read_text(errors="replace")[-1500:] if self.log.exists() else ""
            raise Failed(f"{self.system.name}: {error}\n{log}") from None
