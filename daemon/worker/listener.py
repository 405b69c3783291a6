"""Hears pushes for a worker with free slots, so that ``sleep`` is a bound and not a latency."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from queued.daemon.worker.exchange import Answer, Exchanger, retry_pauses
from queued.drivers.base import Lane
from queued.errors import DriverUnavailable, OwnerLost

log = structlog.get_logger()


class Listener:
    """One pending listen at most, beside which exchanges settle only.

    :param longest: seconds that it waits at most after a failure of an unknown kind.
    :param ended: called when a listen was answered, or failed: the next exchange will find out why.
    """

    def __init__(self, exchanger: Exchanger, longest: float, ended: Callable[[], None]) -> None:
        self.lane = Lane.NORMAL
        """Of the pending listen,"""
        self.until = 0.0
        """and when it ends by itself, in monotonic seconds."""
        self._exchanger = exchanger
        self._longest = longest
        self._ended = ended
        self._task: asyncio.Task[None] | None = None
        self._answer: Answer | None = None
        self._complained = False
        self._pauses = retry_pauses()

    @property
    def pending(self) -> bool:
        return self._task is not None

    def listen(self, seconds: float, want: int, lane: Lane) -> None:
        """Begin to listen; none may be pending."""
        self.lane, self.until = lane, time.monotonic() + seconds
        self._exchanger.listening = True
        self._task = asyncio.get_running_loop().create_task(self._listen(seconds, want, lane))

    def stop(self) -> None:
        """Cut the listen short. What it has reserved comes with the next exchange."""
        if self._task is not None:
            self._task.cancel()
            self._over()

    def heard(self) -> Answer | None:
        """Return the answer that has come, once."""
        answer, self._answer = self._answer, None
        return answer

    async def _listen(self, seconds: float, want: int, lane: Lane) -> None:
        try:
            self._answer = await self._exchanger.listen(seconds, want, lane)
            self._pauses = retry_pauses()
        except OwnerLost:
            pass  # the exchange that follows hears it again
        except DriverUnavailable:
            # The exchange that follows finds out and says so. If only listening fails, the worker
            # looks at growing intervals.
            await asyncio.sleep(min(self._pauses(), self._longest))
        except Exception:  # it must not end with this
            if not self._complained:
                self._complained = True
                log.exception("listener.failed", sleep=self._longest)
            await asyncio.sleep(self._longest)
        self._over()
        self._ended()

    def _over(self) -> None:
        self._task = None
        self._exchanger.listening = False
