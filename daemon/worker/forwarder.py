"""Takes what a worker's settlements left for other queues there, beside the loop.

An exchange says when something is in the outbox of its queue: what this worker has just put there,
or what one that died left behind. What cannot be forwarded now is, by the janitor or after a later
exchange.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from queued.daemon.worker.backend import Backend
from queued.errors import DriverUnavailable

log = structlog.get_logger()


class Forwarder:
    """The forwarding of one worker, one call at a time.

    :param ended: called when it has nothing to do any more.
    """

    def __init__(self, backend: Backend, ended: Callable[[], None]) -> None:
        self._backend = backend
        self._ended = ended
        self._task: asyncio.Task[None] | None = None
        self._again = False

    @property
    def active(self) -> bool:
        return self._task is not None

    def go(self) -> None:
        """Forward what there is; what comes while it is under way too."""
        self._again = True
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._forward())
            self._task.add_done_callback(self._done)

    def cancel(self) -> None:
        """Leave it to others: each step may be the last."""
        if self._task is not None:
            self._task.cancel()

    async def _forward(self) -> None:
        while self._again:
            self._again = False
            try:
                await self._backend.forward()
            except DriverUnavailable:
                return

    def _done(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("forward.failed", exc_info=error)
        self._ended()
