"""Where plain functions of jobs run, so that they block no one else."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from queued.daemon.worker import offspring


class Threads:
    """The threads in which plain functions of jobs run: at most ``size`` at a time."""

    def __init__(self, size: int) -> None:
        self._pool = ThreadPoolExecutor(size, thread_name_prefix="job")

    def call(
        self, function: Callable[..., Any], *args: Any, begun: Callable[[], None] | None = None
    ) -> asyncio.Future[tuple[Any, BaseException | None]]:
        """Call ``function`` in a thread, in a copy of this context; cancelling does not stop it.

        The future gives what it returned and what it raised: an exception is a value here, since
        no future can carry a StopIteration.

        :param begun: called in the thread, before the function.
        """

        def work() -> tuple[Any, BaseException | None]:
            result, error = None, None
            try:
                if begun is not None:
                    begun()
                result = function(*args)
            except BaseException as caught:  # noqa: BLE001 - whatever it is, it is the job's
                error = caught
            if offspring.strayed:
                offspring.end_strayed()
            return result, error

        context = contextvars.copy_context()
        return asyncio.get_running_loop().run_in_executor(self._pool, context.run, work)

    def close(self) -> None:
        """Start no more calls. Threads that run go on until their function returns."""
        self._pool.shutdown(wait=False, cancel_futures=True)
