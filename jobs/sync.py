"""``queue.sync``: the producer's verbs for code that has no event loop.

A push is a round trip of the caller's own thread, where the driver offers that. For all else one
thread with a loop of its own serves all threads of a process; a forked process starts its own. The
thread is a daemon, and is closed in order when the program ends.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures.thread  # noqa: F401 - its hook at the end was set before ours, and runs after
import os
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import Future
from datetime import datetime
from functools import partial
from typing import Any, TypeVar, overload

from queued.drivers.base import QueueStats
from queued.drivers.sequel import Batch
from queued.jobs.job import Job
from queued.jobs.parcel import Delay, Load, pack, seconds_until
from queued.jobs.queue import Queue
from queued.jobs.receipt import Receipt
from queued.jobs.registry import DEFAULT_QUEUE
from queued.jobs.unique import Lasting
from queued.jobs.work import ReceiptT, Work

CLOSE_WITHIN = 2.0
"""Seconds that the end of a program waits for connections to be closed."""

T = TypeVar("T")


class SyncQueue:
    """The verbs of ``Queue`` as plain calls, which block.

    They work in every thread, also in one whose event loop is running (which they block meanwhile:
    there, await the asynchronous verbs). A call that is interrupted is given up; whether its job
    was enqueued is then unknown.
    """

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def push(
        self,
        job: Job,
        queue: str | None = None,
        delay: Delay = 0,
        id: str | None = None,  # noqa: A002 - the receipt's word
        *,
        at: datetime | None = None,
        unique_key: str | None = None,
        unique_for: Lasting = None,
    ) -> Receipt:
        """Enqueue a job: see ``Queue.push``."""
        parcel = pack(job, queue, seconds_until(delay, at), id, unique_key, unique_for)
        sent = self._queue.send_blocking(parcel)
        return _portal().call(self._queue.send, parcel) if sent is None else sent

    @overload
    def dispatch(
        self,
        job: Job,
        queue: str | None = None,
        delay: Delay = 0,
        id: str | None = None,
        *,
        at: datetime | None = None,
        unique_key: str | None = None,
        unique_for: Lasting = None,
    ) -> Receipt: ...
    @overload
    def dispatch(self, job: Work[Any, ReceiptT]) -> ReceiptT: ...
    def dispatch(self, job: Job | Work[Any, Any], *where: Any, **options: Any) -> Any:
        """Enqueue a job, a chain or a batch: see ``queued.dispatch``."""
        if isinstance(job, Work):
            job.refuse_options(*where, *options)
            return _portal().call(job.send, self._queue, job.encode())
        return self.push(job, *where, **options)

    def later(
        self,
        delay: Delay | datetime,
        job: Job,
        queue: str | None = None,
        id: str | None = None,  # noqa: A002 - the receipt's word
        *,
        unique_key: str | None = None,
        unique_for: Lasting = None,
    ) -> Receipt:
        """Enqueue a job that may run after ``delay``, or at it: see ``Queue.later``."""
        seconds = seconds_until(delay)
        return self.push(job, queue, seconds, id, unique_key=unique_key, unique_for=unique_for)

    def bulk(
        self,
        jobs: Iterable[Job],
        queue: str | None = None,
        delay: Delay = 0,
        ids: Sequence[str] | None = None,
        *,
        at: datetime | None = None,
    ) -> list[Receipt]:
        """Enqueue many jobs: see ``Queue.bulk``."""
        every = list(jobs)
        load = Load(queue, seconds_until(delay, at), len(every), ids)
        load.add(every)
        return _portal().call(self._queue.send_all, load)

    def size(self, queue: str = DEFAULT_QUEUE) -> int:
        """Return how many jobs wait: see ``Queue.size``."""
        return _portal().call(self._queue.size, queue)

    def stats(self, queue: str = DEFAULT_QUEUE) -> QueueStats:
        """Return a queue's counts by state: see ``Queue.stats``."""
        return _portal().call(self._queue.stats, queue)

    def batch(self, batch_id: str) -> Batch | None:
        """Return how far a batch is: see ``Queue.batch``."""
        return _portal().call(self._queue.batch, batch_id)

    def pause(self, queue: str = DEFAULT_QUEUE, *, reason: str = "", by: str | None = None) -> bool:
        """Have no more of a queue's jobs started: see ``Queue.pause``."""
        return _portal().call(partial(self._queue.pause, queue, reason=reason, by=by))

    def resume(self, queue: str = DEFAULT_QUEUE) -> bool:
        """End a pause: see ``Queue.resume``."""
        return _portal().call(self._queue.resume, queue)

    def close(self) -> None:
        """Close this producer's connection. A later call opens it again."""
        self._queue.close_blocking()
        _portal().call(self._queue.close)


class Portal:
    """A thread that runs an event loop for callers in other threads."""

    def __init__(self) -> None:
        started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(started,), name="queued-sync", daemon=True
        )
        self._thread.start()
        self._loop, self._stop = started.result()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def call(
        self,
        function: Callable[..., Coroutine[Any, Any, T]],
        *arguments: Any,
    ) -> T:
        """Run a coroutine function in the portal's loop, and return what it returns."""
        if threading.current_thread() is self._thread:
            raise RuntimeError("queue.sync was called from its own thread: await the verbs there")
        answer = asyncio.run_coroutine_threadsafe(function(*arguments), self._loop)
        try:
            return answer.result()
        except BaseException:
            answer.cancel()  # after a KeyboardInterrupt nobody waits for it; else it does nothing
            raise

    def close(self) -> None:
        """End the loop, which closes its connections, and wait a moment for it."""
        if self.alive:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(CLOSE_WITHIN)

    def _run(self, started: Future[Any]) -> None:
        try:
            asyncio.run(self._serve(started))
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    async def _serve(self, started: Future[Any]) -> None:
        stop = asyncio.Event()
        started.set_result((asyncio.get_running_loop(), stop))
        await stop.wait()


class _Process:
    """The portal of a process, made at its first use."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.portal: Portal | None = None


_process = _Process()


def _portal() -> Portal:
    process = _process
    with process.lock:
        if process.portal is None or not process.portal.alive:
            process.portal = Portal()
        return process.portal


def _after_fork() -> None:
    # The thread stayed in the parent, and another one may have held the lock.
    global _process  # noqa: PLW0603 - one for each process
    _process = _Process()


def _at_exit() -> None:
    if _process.portal is not None:
        _process.portal.close()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
