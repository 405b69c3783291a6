"""A link that is left when another server has taken the place of the one it leads to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import RedisError

from queued.drivers.redis.commands import Command
from queued.drivers.redis.link import Link
from queued.errors import DriverError

LOOK_EVERY = 2.0
"""Seconds that a call waits before it is asked whether the server has been replaced, and again."""


class WatchedLink(Link):
    """A link to a primary that may have a successor.

    A host that lost its power says nothing, not even that the connection is over; without the
    question a call would wait for as long as it may.
    """

    async def send(self, commands: Sequence[Command], blocking: float = 0.0) -> list[Any]:
        """As ``Link.send``; ends as well when the server is found to have been replaced."""
        looking: list[asyncio.Task[None]] = []
        loop = asyncio.get_running_loop()
        timer = loop.call_later(LOOK_EVERY, lambda: looking.append(loop.create_task(self._look())))
        try:
            return await super().send(commands, blocking)
        finally:
            timer.cancel()
            for task in looking:
                task.cancel()

    async def _look(self) -> None:
        while True:
            wire = self._wire
            with contextlib.suppress(RedisError, OSError, DriverError):  # nobody knows for now
                if wire is not None and await self._is_replaced():
                    wire.give_up(Disconnected("it is not the primary any more"))
                    return
            await asyncio.sleep(LOOK_EVERY)

    async def _is_replaced(self) -> bool:
        """Tell whether another server is the primary now; whatever it raises means unknown."""
        raise NotImplementedError
