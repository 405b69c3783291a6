"""Taking a new generation of code into service: pool by pool, worker by worker, or not at all."""

from __future__ import annotations

from collections.abc import Sequence

from queued.daemon.master.child import Child
from queued.daemon.master.pool import Pool
from queued.daemon.master.restart import STABLE_AFTER


class Rollout:
    """Sets the pools' ``code``, one pool after the other; each then replaces its own workers.

    A worker of the new code that dies before it made progress stops it, and every pool goes back to
    the code that it had.
    """

    def __init__(self, pools: Sequence[Pool], generation: int) -> None:
        self.generation = generation
        self.error = ""
        """Why it was stopped."""
        self.done = False
        """Every worker of the pools runs the new code."""
        self._before = {pool.name: pool.code for pool in pools}
        self._pools = list(pools)
        self._waiting = list(pools)
        self._current: Pool | None = None

    def tick(self) -> None:
        """Go on to the next pool when the current one has been replaced."""
        while not self.error and not self.done:
            if self._current is not None and not (self._current.settled or self._current.closing):
                return
            if not self._waiting:
                self.done = True
                return
            self._current = self._waiting.pop(0)
            self._current.code = self.generation
            self._current.retry()

    def died(self, child: Child, how: str, now: float) -> None:
        """Take note of a death that nobody asked for."""
        if child.code != self.generation or child.solo or self.done:
            return
        if not child.said_ready:  # which takes it 30 s to be killed for
            self.stop(f"{child.name} of the new code never came up ({how})")
        elif not child.settled and now - child.started < STABLE_AFTER:
            self.stop(f"{child.name} of the new code ended at once ({how})")

    def stop(self, error: str) -> None:
        """Give it up: every pool goes back to the code that it had."""
        if self.error:
            return
        self.error = error
        for pool in self._pools:
            if pool.code == self.generation:
                pool.code = self._before[pool.name]
                pool.retry()
