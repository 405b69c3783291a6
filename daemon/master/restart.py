"""When a crashed child's successor starts: at once, after a while, or no more.

One ``RestartPolicy`` per seat (a pool's worker 1, 2, ...), so that one broken worker neither hides
behind the others nor condemns them. What counts is progress: an incarnation that settled a job or
lived ten seconds made some, and whatever came before it is forgotten.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

STABLE_AFTER: Final = 10.0
"""Seconds that a child must live to have made progress without settling a job."""
AT_ONCE: Final = 4
"""Deaths in a row without progress whose successors start at once."""
BACKOFFS: Final = 5
"""Deaths after these that are waited out, before it is given up."""
FIRST_DELAY: Final = 1.0
MAX_DELAY: Final = 60.0
JITTER: Final = 0.25
"""At most so much is added to a delay, so that many seats do not crash in step."""


@dataclass(frozen=True, slots=True)
class Succession:
    """What follows a death."""

    delay: float = 0.0
    """Seconds before the successor starts."""
    gives_up: bool = False
    """No successor: somebody has to look at it first."""


class RestartPolicy:
    """Counts the deaths in a row without progress of one seat.

    :param gives_up: False for what the daemon cannot do without: it waits at the longest delay.
    :param jitter: returns a number from 0 to 1.
    """

    def __init__(
        self, *, gives_up: bool = True, jitter: Callable[[], float] = random.random
    ) -> None:
        self._gives_up = gives_up
        self._jitter = jitter
        self.deaths = 0
        """In a row, without progress."""

    def died(self, *, lived: float, settled: int, began: int, counts: bool = True) -> Succession:
        """Take note of a death.

        :param lived: seconds from its start; 0: it never got ready.
        :param settled: jobs that it settled.
        :param began: jobs that it began. It is given up only when the last incarnation began none:
            what dies with jobs in hand may be dying of them, and these are dealt with elsewhere.
        :param counts: False: it was asked to go, or went as its settings say. Such a death makes
            nothing worse, and if there was progress nothing is held against its seat any more.
        """
        if settled or lived >= STABLE_AFTER:
            self.reset()
            return Succession()
        if not counts:
            return Succession()
        self.deaths += 1
        if self.deaths <= AT_ONCE:
            return Succession()
        if self.deaths > AT_ONCE + BACKOFFS and self._gives_up and not began:
            return Succession(gives_up=True)
        return Succession(delay=self._delay(self.deaths - AT_ONCE - 1))

    def reset(self) -> None:
        """Forget what was: the code, the settings or somebody's mind has changed."""
        self.deaths = 0

    def _delay(self, step: int) -> float:
        delay = FIRST_DELAY * 2.0 ** min(step, 10)
        return min(MAX_DELAY, delay * (1 + JITTER * self._jitter()))
