"""Hears pushes for an idle worker, so that ``sleep`` is a bound and not a latency."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from queued.daemon.worker.backend import Backend
from queued.daemon.worker.exchange import retry_pauses
from queued.errors import DriverUnavailable

log = structlog.get_logger()


class Listener:
    """One pending wait on the back-end at most, kept while the worker stays idle.

    :param seconds: how long one wait lasts.
    :param heard: called when a wait was woken, or broke off: what was pushed since rang for nobody.
    """

    def __init__(self, backend: Backend, seconds: float, heard: Callable[[], None]) -> None:
        self._backend = backend
        self._seconds = seconds
        self._heard = heard
        self._task: asyncio.Task[None] | None = None
        self._woken = False
        self._complained = False
        self._pauses = retry_pauses()

    def listen(self) -> None:
        """Wait for pushes, if that is not done already."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._wait())

    def ignore(self) -> None:
        """Stop waiting: a push would find this worker busy."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def woken(self) -> bool:
        """Say whether a push was heard since this was last asked."""
        woken, self._woken = self._woken, False
        return woken

    async def _wait(self) -> None:
        woken = False
        while not woken:
            try:
                woken = await self._backend.wait(self._seconds)
                self._pauses = retry_pauses()
            except DriverUnavailable:
                # The exchange that follows finds out and says so. If only waiting fails, the worker
                # looks at growing intervals.
                await asyncio.sleep(min(self._pauses(), self._seconds))
                woken = True
            except Exception:  # it must not end with this
                if not self._complained:
                    self._complained = True
                    log.exception("listener.failed", sleep=self._seconds)
                await asyncio.sleep(self._seconds)
        self._task = None
        self._woken = True
        self._heard()
