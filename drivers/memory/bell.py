"""What an idle worker of the memory driver waits for."""

from __future__ import annotations

import asyncio
import threading
from collections import deque


class Bell:
    """Wakes one waiting worker, or the next that comes to wait."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.rung = False
        self.waiting: deque[asyncio.Future[None]] = deque()

    def ring(self) -> None:
        with self.lock:
            while self.waiting:
                waiter = self.waiting.popleft()
                try:  # the one who rings may be on another thread's loop
                    waiter.get_loop().call_soon_threadsafe(self._wake, waiter)
                except RuntimeError:
                    continue  # that loop is closed
                return
            self.rung = True

    def _wake(self, waiter: asyncio.Future[None]) -> None:
        if waiter.done():
            self.ring()  # it stopped waiting meanwhile: the next one's turn
        else:
            waiter.set_result(None)

    async def wait(self, timeout: float) -> bool:  # noqa: ASYNC109 - a bound, not an error
        waiter = asyncio.get_running_loop().create_future()
        with self.lock:
            if self.rung:
                self.rung = False
                return True
            self.waiting.append(waiter)
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError:
            return not waiter.cancelled()
        finally:
            with self.lock:
                if waiter in self.waiting:
                    self.waiting.remove(waiter)
        return True
