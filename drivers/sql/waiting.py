"""Idle workers: told by the back-end that something changed, they look whether it concerns them.

A waiter that is told takes a nap, so that many do not look in step, and looks. It looks again a few
times after that, in case the news came before what it tells of could be seen, and from time to time
in case nothing was told at all.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

FIRST_LOOK, LONGEST_NAP = 0.01, 0.03


class Watch(Protocol):
    """Tells that something changed, perhaps."""

    poll: float
    """Seconds after which to look although nothing was told."""

    def hear(self) -> None:
        """Take note of all that was told so far: ``changed`` is about what comes after."""

    async def changed(self, timeout: float) -> bool:  # noqa: ASYNC109 - a bound, not an error
        """Return True once something is told, False after ``timeout``."""


class Sight(NamedTuple):
    """What a look found."""

    version: object
    """Differs when anything may have changed."""
    ready: bool
    due_at: float | None
    due_in: float
    """Seconds until a scheduled job is due; infinite where there is none."""


@dataclass(slots=True)
class _Seen:
    """What a queue's waiter has answered to already."""

    version: object = None
    due_at: float | None = None


class Waiter:
    """Waits for pushes over a watch and a look.

    :param nap: seconds of the shortest nap.
    """

    def __init__(
        self, watch: Watch, look: Callable[[str], Awaitable[Sight]], *, nap: float
    ) -> None:
        self._watch = watch
        self._look = look
        self._nap = nap
        self._seen: dict[str, _Seen] = {}

    async def wait(self, queue: str, timeout: float) -> bool:  # noqa: ASYNC109 - a bound, not an error
        """Return True when there was a change since this queue's last wait, and a job is ready.

        So a job that is ready but not for this worker (it has no slot, or left some to others) does
        not wake it twice.
        """
        deadline = time.monotonic() + timeout
        pause, nap = FIRST_LOOK, self._nap
        while True:
            self._watch.hear()
            woken, due_in = await self._news(queue)
            left = deadline - time.monotonic()
            if woken or left <= 0:
                return woken
            if await self._watch.changed(max(min(pause, due_in, left), 0.001)):
                await asyncio.sleep(min(nap * random.uniform(0.5, 1), left))  # noqa: S311
                pause, nap = FIRST_LOOK, min(2 * nap, LONGEST_NAP)
            else:
                pause, nap = min(2 * pause, self._watch.poll), self._nap

    async def _news(self, queue: str) -> tuple[bool, float]:
        """Return whether to wake up, and in how many seconds a job is due that is not yet."""
        seen = self._seen.setdefault(queue, _Seen())
        sight = await self._look(queue)
        fell_due = sight.due_in <= 0 and sight.due_at != seen.due_at
        changed = sight.ready and sight.version != seen.version
        seen.version = sight.version
        if fell_due:
            seen.due_at = sight.due_at
        due_in = sight.due_in if sight.due_in > 0 else float("inf")
        return changed or fell_due, due_in
