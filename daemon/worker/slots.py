"""Whose each slot of the scoreboard is: a run's, or that of a ``failed()`` beside the runs.

A hook is shown there since it may block the loop or take the worker along, as a job may: its master
then kills the worker at the hook's deadline, and charges none of the jobs that ran beside it alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from queued.daemon.scoreboard import Scoreboard
from queued.daemon.verdict import HOOK_FENCE


class Slots:
    """The slots of one worker. Runs come first: a hook has one only while there is one to spare.

    :param board: None where no master looks.
    """

    def __init__(self, count: int, board: Scoreboard | None) -> None:
        self._free = list(range(count - 1, -1, -1))
        self._board = board
        self._hooks: list[_Hook] = []

    def take(self) -> int:
        """Return the number of a slot for a run."""
        return self._free.pop() if self._free else self._hide(self._hooks[-1])

    def give_back(self, slot: int) -> None:
        self._free.append(slot)

    @contextmanager
    def hook(self, job_id: str, job: str, seconds: float) -> Iterator[_Hook]:
        """Show a hook until its end is stored; ``seconds`` is how long it may take."""
        shown = _Hook(self._board)
        if self._board is not None and self._free:
            now, shown.slot = time.monotonic(), self._free.pop()
            self._hooks.append(shown)
            name = f"{job}.failed"
            self._board.begin(shown.slot, job_id, name, HOOK_FENCE, now, now + seconds, 0, 0.0)
        try:
            yield shown
        finally:
            if shown in self._hooks:
                self._free.append(self._hide(shown))

    def _hide(self, hook: _Hook) -> int:
        """Return the slot that a hook had."""
        assert self._board is not None
        self._hooks.remove(hook)
        self._board.release(hook.slot)
        slot, hook.slot = hook.slot, -1
        return slot


class _Hook:
    """A hook on the scoreboard; its slot is -1 while it has none."""

    def __init__(self, board: Scoreboard | None) -> None:
        self.slot = -1
        self._board = board

    def ended(self) -> None:
        """Say that its code has ended: it has no deadline any more, and may have left something."""
        if self._board is not None and self.slot >= 0:
            self._board.finish(self.slot, False)
