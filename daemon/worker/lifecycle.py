"""When and why a worker ends: phases that only move forward.

    SERVING → QUIET → LEAVING → HANDING_BACK

It may skip phases, and it stays in the last one until the process ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import IntEnum

import structlog

log = structlog.get_logger()

NEVER = float("inf")
PATIENCE = 1.0
"""Seconds that a cancelled job has to end, before it is called overrunning, or is handed back all
the same."""
HAND_BACK_TIME = 3.0
"""Seconds in which a worker that has to end tries to hand its jobs back: the master kills it after
5. What it could not hand back is reclaimed from it."""


class Phase(IntEnum):
    SERVING = 0
    QUIET = 1
    """No more jobs are reserved; what runs goes on."""
    LEAVING = 2
    """As soon as nothing runs it ends; if it was told to by a signal, within a grace."""
    HANDING_BACK = 3
    """What runs is cancelled and handed back uncharged; then it ends."""


class Lifecycle:
    """The phases of one worker. Times are monotonic seconds.

    :param grace: seconds that ``terminate`` leaves to what runs.
    :param entered: called at each change, and whenever it is told to end.
    """

    def __init__(
        self,
        grace: float,
        entered: Callable[[Phase], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.phase = Phase.SERVING
        self.reason = ""
        """Why it ends; the first reason stays."""
        self.told = False
        """Whether a signal told it to end."""
        self.abandon_at = NEVER
        """When what was cancelled and still runs is handed back all the same."""
        self.give_up_at = NEVER
        """When it ends without having handed everything back."""
        self._grace = grace
        self._entered = entered
        self._clock = clock
        self._leave_by = NEVER

    @property
    def ending(self) -> bool:
        return self.phase >= Phase.LEAVING

    def quiet(self) -> None:
        """Reserve no more."""
        self._enter(Phase.QUIET)

    def leave(self, reason: str) -> None:
        """End as soon as nothing runs, however long that takes."""
        self.reason = self.reason or reason
        self._enter(Phase.LEAVING)

    def terminate(self) -> None:
        """SIGTERM: end within the grace; the second time, now."""
        if self.told:
            self.hand_back("drained")
            return
        self.told = True
        self._leave_by = self._clock() + self._grace
        self.leave("drained")

    def quit(self) -> None:
        """SIGQUIT: end now."""
        self.told = True
        self.hand_back("drained")

    def hand_back(self, reason: str) -> None:
        """End now: cancel what runs and give it back."""
        self.reason = self.reason or reason
        if self.phase < Phase.HANDING_BACK:
            now = self._clock()
            self.abandon_at = now + PATIENCE
            self.give_up_at = now + HAND_BACK_TIME
        self._enter(Phase.HANDING_BACK)

    def tick(self, now: float) -> None:
        """Do what is due."""
        if self.phase < Phase.HANDING_BACK and now >= self._leave_by:
            self.hand_back(self.reason)

    def _enter(self, phase: Phase) -> None:
        if phase > self.phase:
            self.phase = phase
            log.debug("worker.phase", phase=phase.name.lower(), reason=self.reason or None)
            self._entered(phase)
