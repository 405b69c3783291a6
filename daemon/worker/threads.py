"""Where plain functions of jobs run, so that they block no one else."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from queued.daemon.worker import offspring

Ending = tuple[Any, BaseException | None]
"""What a call returned and what it raised: an exception is a value here, since no future can carry
a StopIteration."""


class _Call(NamedTuple):
    future: asyncio.Future[Ending]
    context: contextvars.Context
    function: Callable[..., Any]
    args: tuple[Any, ...]
    begun: Callable[[], None] | None


class Threads:
    """The threads in which plain functions of jobs run: at most ``size`` at a time.

    A pool of our own: what ends in a burst is told to the loop once, where ``run_in_executor``
    locks, chains two futures and writes to the loop's descriptor for each call.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._ended: deque[tuple[asyncio.Future[Ending], Ending]] = deque()
        self._told = False
        """Whether the loop will come for ``_ended`` anyway."""
        self._open = 0
        """Calls that have not ended yet, as the loop knows."""
        self._started = 0
        self._closed = False

    def call(
        self, function: Callable[..., Any], *args: Any, begun: Callable[[], None] | None = None
    ) -> asyncio.Future[Ending]:
        """Call ``function`` in a thread, in a copy of this context; cancelling does not stop it.

        :param begun: called in the thread, before the function.
        :raises RuntimeError: this pool is closed.
        """
        if self._closed:
            raise RuntimeError("no plain function can be called any more: the worker is ending")
        loop = asyncio.get_running_loop()
        if self._started < self._size and self._started <= self._open:  # none is idle
            name = f"job_{self._started}"
            threading.Thread(target=self._serve, args=(loop,), name=name).start()
            self._started += 1
        self._open += 1
        future: asyncio.Future[Ending] = loop.create_future()
        self._calls.put(_Call(future, contextvars.copy_context(), function, args, begun))
        return future

    def close(self) -> None:
        """Start no more calls. Threads that run go on until their function returns."""
        self._closed = True
        with suppress(Empty):
            while (call := self._calls.get_nowait()) is not None:
                call.future.cancel()
        for _ in range(self._started):
            self._calls.put(None)

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        """Be one of the threads."""
        while (call := self._calls.get()) is not None:
            ending = call.context.run(_work, call.function, call.args, call.begun)
            self._ended.append((call.future, ending))
            del call, ending  # nothing of a job stays with an idle thread
            if not self._told:  # twice, if two threads come at once, does no harm
                self._told = True
                with suppress(RuntimeError):  # the loop has been closed meanwhile
                    loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._told = False  # first: what ends from here on is told of again
        ended = self._ended
        while ended:
            future, ending = ended.popleft()
            self._open -= 1
            if not future.done():  # cancelled
                future.set_result(ending)


def _work(
    function: Callable[..., Any], args: tuple[Any, ...], begun: Callable[[], None] | None
) -> Ending:
    result, error = None, None
    try:
        if begun is not None:
            begun()
        result = function(*args)
    except BaseException as caught:  # noqa: BLE001 - whatever it is, it is the job's
        error = caught
    if offspring.strayed:
        offspring.end_strayed()
    try:
        return result, error
    finally:
        error = None  # its traceback refers to this frame: leave no circle
