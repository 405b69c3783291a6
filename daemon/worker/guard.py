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
SILENCE = 60.0
"""Seconds for which the loop may stand still while no job runs: what an ended one left behind, or a
``failed()``, blocks it then."""
NEVER = float("inf")


class Guard:
    """Ends the process, with exit code 1 and all stacks on standard error.

    A timer of C is wound up to the earliest deadline, so that it goes off even when no thread of
    Python gets a turn, because a job holds the interpreter. A job may do that from its first step
    on, so the timer is wound before it (``expect``); a thread puts it off when jobs have ended.

    :param grace: seconds after a deadline in which the worker ends the job, or itself.
    """

    def __init__(self, running: AbstractSet[Run], grace: float) -> None:
        self._running = running
        self._grace = grace
        self._lock = threading.Lock()
        self._wound_to = NEVER
        self._beaten = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="guard", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()

    def expect(self, deadline: float) -> None:
        """Guard a job that is about to start; its deadline is in monotonic seconds."""
        with self._lock:
            if deadline < self._wound_to:
                self._wind(deadline)

    def beat(self, now: float) -> None:
        """Hear that the loop turns; ``now`` is monotonic seconds."""
        self._beaten = now

    def _watch(self) -> None:
        hung = False
        while not self._stopped.wait(PERIOD):
            silent = not self._running and time.monotonic() - self._beaten > SILENCE
            with self._lock:
                if silent and hung:  # a second time: else the whole process stood still
                    self._wind(self._beaten)
                    return
                # A job whose clock has not started yet says so itself, before any code of it runs.
                self._wind(min((run.deadline for run in self._begun()), default=NEVER))
            hung = silent

    def _begun(self) -> list[Run]:
        return [run for run in tuple(self._running) if run.deadline]

    def _wind(self, deadline: float) -> None:
        if deadline == self._wound_to:
            return
        self._wound_to = deadline
        if deadline == NEVER:
            faulthandler.cancel_dump_traceback_later()
        else:
            left = deadline + self._grace + MARGIN - time.monotonic()
            faulthandler.dump_traceback_later(max(left, 0.1), exit=True)
