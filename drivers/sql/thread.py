"""One thread that runs what a loop hands it, in order: a connection's own.

Not an executor: those refuse work once the main thread has ended, while handlers at exit and
threads that outlive it may still push jobs.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

_Call = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[[], Any]]


class OwnThread:
    """Started at once; ends with the program, or after ``end`` when all before it is done."""

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def call(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Run ``function`` after all before it; once begun it runs to its end, cancelled or not."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._calls.put((loop, future, function))
        return future

    def end(self) -> None:
        self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            loop, future, function = call
            if future.cancelled():
                continue
            result, error = None, None
            try:
                result = function()
            except BaseException as caught:  # noqa: BLE001 - the caller's, whatever it is
                error = caught
            with suppress(RuntimeError):  # the loop was closed meanwhile: nobody listens
                loop.call_soon_threadsafe(_answer, future, result, error)
            del call, future, function, result, error  # keep nothing alive while waiting


class LazyThread:
    """An ``OwnThread``, started by the first call; it stays with the process that made it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: OwnThread | None = None
        self._pid = 0

    def call(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """``OwnThread.call``.

        :raises RuntimeError: in a process that was forked since the first call.
        """
        if self._thread is None:
            self._thread = OwnThread(self._name)
            self._pid = os.getpid()
        elif self._pid != os.getpid():
            raise RuntimeError("a driver was opened before a fork: open one in each process")
        return self._thread.call(function)

    async def end(self, last: Callable[[], None]) -> None:
        """Run ``last`` and end. Idempotent; a later call begins anew."""
        thread, self._thread = self._thread, None
        if thread is not None and self._pid == os.getpid():
            ending = thread.call(last)
            thread.end()
            await asyncio.shield(ending)  # cancelled or not, what is open is closed


def _answer(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():  # cancelled
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
