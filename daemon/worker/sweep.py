"""The worker's one timer: every 50 ms it looks at all that depends on time."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable

from queued.daemon.metrics import Histogram
from queued.daemon.worker.executor import Executor
from queued.daemon.worker.lifecycle import PATIENCE
from queued.daemon.worker.run import Interrupt, Run

PERIOD = 0.05
CLEAN_UP = 0.5
"""Seconds that a cancelled job has for its ``finally`` blocks before it is cancelled again."""


class Sweep:
    """Calls ``duty`` with the monotonic time every ``PERIOD`` seconds; measures the loop's lag.

    A callback and no task: whatever the duty raises goes to ``broken``, and the sweep ends.
    """

    def __init__(
        self,
        duty: Callable[[float], None],
        lag: Histogram,
        broken: Callable[[BaseException], None],
    ) -> None:
        self._duty = duty
        self._lag = lag
        self._broken = broken
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time()
        self._timer = self._loop.call_later(0, self._turn)

    def stop(self) -> None:
        self._timer.cancel()

    def _turn(self) -> None:
        late = self._loop.time() - self._due
        self._lag.observe(max(late, 0.0))
        try:
            self._duty(time.monotonic())
        except BaseException as error:  # noqa: BLE001
            self._broken(error)
            return
        self._due = self._loop.time() + PERIOD
        self._timer = self._loop.call_later(PERIOD, self._turn)


def enforce_deadlines(executor: Executor, now: float) -> list[Run]:
    """Cancel the jobs that are past their deadline; return those that do not end for it.

    What does not end is cancelled again at each sweep, since code may swallow a cancellation, and
    so may libraries (``asyncio.wait_for`` of Python 3.11). A thread cannot be cancelled at all.
    """
    overrunning = []
    for run in tuple(executor.running):
        if run.interrupt is None and not 0 < run.deadline <= now:
            continue
        if not run.cancelled or now - run.interrupted_at >= CLEAN_UP:
            executor.interrupt(run, Interrupt.TIMEOUT, now)
        hopeless = run.in_thread or now - run.interrupted_at >= PATIENCE
        if hopeless and run.interrupt is Interrupt.TIMEOUT:
            overrunning.append(run)
    return overrunning


def resident_memory() -> int:
    """Return the resident memory of this process in bytes (Linux); 0: it cannot be told now."""
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - each second, in every worker
            return int(file.read().split()[1]) * _PAGE
    except OSError:  # the jobs have used up the descriptors, say
        return 0


_PAGE = os.sysconf("SC_PAGE_SIZE")
