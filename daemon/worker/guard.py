"""The last guard of a worker without a master: it ends a process whose loop is blocked for good."""

from __future__ import annotations

import faulthandler
import threading
import time
from collections.abc import Set as AbstractSet

from queued.daemon.worker.run import Run

PERIOD = 1.0
MARGIN = 5.0
"""Seconds beyond those in which the worker would have dealt with the job by itself."""


class Guard:
    """Ends the process, with exit code 1 and all stacks on standard error.

    A thread keeps a timer of C wound up to the earliest deadline, so that it goes off even when
    the thread itself gets no turn, because the job holds the interpreter.

    :param grace: seconds after a deadline in which the worker ends the job, or itself.
    """

    def __init__(self, running: AbstractSet[Run], grace: float) -> None:
        self._running = running
        self._grace = grace
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="guard", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()

    def _watch(self) -> None:
        while not self._stopped.wait(PERIOD):
            deadlines = [run.deadline for run in tuple(self._running) if run.deadline]
            if deadlines:
                left = min(deadlines) + self._grace + MARGIN - time.monotonic()
                faulthandler.dump_traceback_later(max(left, 0.1), exit=True)
            else:
                faulthandler.cancel_dump_traceback_later()
