"""What children run. Imported where it is run: the master loads none of it."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

from queued.daemon import titles
from queued.daemon.channel import Channel
from queued.daemon.scoreboard import Scoreboard
from queued.daemon.spec import MonitorSpec, WorkerSpec


class Installed:
    """queued's own worker and monitor."""

    def load(self, imports: Sequence[str], folder: Path) -> list[str]:
        from queued.jobs.imports import load  # noqa: PLC0415

        titles.show("template")
        return load(imports, folder)

    def warm(self, url: str) -> None:
        import queued.daemon.worker.forked  # noqa: F401, PLC0415
        from queued.drivers import driver_for  # noqa: PLC0415

        driver_for(url)  # imports its modules; opens nothing

    def worker(self, spec: WorkerSpec, channel: Channel, board: Scoreboard) -> int:
        from queued.daemon.worker.forked import run_worker  # noqa: PLC0415

        titles.show(f"worker {spec.worker}")
        return run_worker(spec, channel, board)

    def monitor(self, spec: MonitorSpec, channel: Channel, listener: socket.socket | None) -> int:
        from queued.daemon.monitor.process import run_monitor  # noqa: PLC0415

        titles.show("monitor")
        return run_monitor(spec, channel, listener)
