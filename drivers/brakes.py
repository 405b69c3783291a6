"""What holds a queue's ready jobs back: a pause, and a rate limit.

Both are kept by the back-end, so that they hold for all workers on all hosts. A limit is a bucket
of tokens, one for each job that is reserved: it holds ``burst`` and gains one every ``every``
seconds. All that is stored of it is when its next token is (or was) there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Paused:
    """Since when a queue is paused, in seconds since the epoch, by whom and why."""

    since: float
    by: str = ""
    reason: str = ""


class RateLimit(NamedTuple):
    """How fast the jobs of a queue may be reserved."""

    every: float
    """Seconds in which one token comes."""
    burst: int
    """The most tokens there can be: how many jobs may be reserved at once after a quiet time."""

    def tokens(self, opens_at: float | None, now: float) -> float:
        """Return how many there are at ``now``, parts of one included.

        :param opens_at: as stored; None: nothing was taken yet.
        """
        if opens_at is None:
            return float(self.burst)
        return min(max(1 + (now - opens_at) / self.every, 0.0), float(self.burst))

    def is_debt(self, opens_at: float | None, now: float) -> bool:
        """Whether a slower limit stored this, so that there is to be stored anew: none is there."""
        return opens_at is not None and opens_at > now + self.every * (1 + _ROUNDING)

    def opens_at(self, tokens: float, now: float) -> float:
        """Return what to store: when there is one token, if there are so many now."""
        return now + (1 - tokens) * self.every

    def wait(self, tokens: float) -> float | None:
        """Return the seconds until there is one; None: there is."""
        return None if whole(tokens) else (1 - tokens) * self.every


def whole(tokens: float) -> int:
    """Return how many jobs ``tokens`` are good for."""
    return math.floor(tokens + _ROUNDING)
