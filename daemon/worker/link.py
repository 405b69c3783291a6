"""The worker's side of its channel to the master."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from queued.daemon.channel import Channel
from queued.daemon.metrics import Metrics

log = structlog.get_logger()

CLOSING_TIME = 1.0
"""Seconds that the last frames have to get out."""


class Link:
    """Tells the master how this worker does, and hears what it wants.

    :param quiet: the master wants no more jobs to be started.
    :param orphaned: the master is gone.
    """

    def __init__(
        self, channel: Channel, quiet: Callable[[], None], orphaned: Callable[[], None]
    ) -> None:
        self._channel = channel
        self._quiet = quiet
        self._orphaned = orphaned
        self._snapshots = 0

    def open(self) -> None:
        asyncio.get_running_loop().add_reader(self._channel.fileno(), self._hear)
        self._channel.send({"type": "ready"})

    def report(self, metrics: Metrics, *, droppable: bool = True) -> None:
        """Send a snapshot. One that is dropped is made up for by the next."""
        self._snapshots += 1
        data = metrics.snapshot()
        frame = {"type": "snapshot", "seq": self._snapshots, "data": data}
        self._channel.send(frame, droppable=droppable)

    async def close(self, reason: str) -> None:
        """Say why this worker ends, unless it breaks; wait until that is written, for a while."""
        asyncio.get_running_loop().remove_reader(self._channel.fileno())
        if reason:
            self._channel.send({"type": "leaving", "reason": reason})
        until = time.monotonic() + CLOSING_TIME
        while self._channel.pending and time.monotonic() < until:
            await asyncio.sleep(0.005)
            self._channel.flush()

    def _hear(self) -> None:
        for frame in self._channel.receive():
            if frame.get("type") == "quiet":
                self._quiet()
        if self._channel.closed:
            asyncio.get_running_loop().remove_reader(self._channel.fileno())
            log.warning("master.gone")
            self._orphaned()
