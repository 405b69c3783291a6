"""A sleep that anyone can end."""

from __future__ import annotations

import asyncio


class Sleeper:
    """For one task that sleeps. A wake-up while it is awake ends its next sleep at once."""

    def __init__(self) -> None:
        self._woken = False
        self._waiting: asyncio.Future[None] | None = None

    def wake(self) -> None:
        if self._woken:
            return
        self._woken = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def sleep(self, seconds: float | None = None) -> None:
        """Sleep until woken, and at most ``seconds``."""
        if not self._woken:
            loop = asyncio.get_running_loop()
            self._waiting = loop.create_future()
            timer = None if seconds is None else loop.call_later(seconds, self.wake)
            try:
                await self._waiting
            finally:
                self._waiting = None
                if timer is not None:
                    timer.cancel()
        self._woken = False
