"""``FakeStore``: a back-end in memory whose time stands still, unless somebody moves it."""

from __future__ import annotations

import time
from datetime import timedelta

from queued.drivers.base import Lane
from queued.drivers.memory import Store
from queued.units import parse_duration

Duration = float | str | timedelta
"""Seconds, ``"5m"`` or a timedelta."""


class FakeStore(Store):
    """The queues of a fake back-end, and its clock."""

    def __init__(self) -> None:
        super().__init__()
        self._now = time.time()

    def now(self) -> float:
        return self._now

    def travel(self, seconds: float) -> None:
        with self.lock:
            self._now += seconds

    def due(self) -> list[str]:
        """Return the queues that have jobs to be run now."""
        with self.lock:
            return [
                name
                for name, queue in self.queues.items()
                if queue.ready[Lane.NORMAL]
                or (queue.scheduled and queue.scheduled[0].due_at <= self._now)
            ]

    def next_due(self) -> float | None:
        """Return in how many seconds the first delayed job is due; None: there is none."""
        with self.lock:
            due = [queue.scheduled[0].due_at for queue in self.queues.values() if queue.scheduled]
            return min(due) - self._now if due else None


def seconds(duration: Duration) -> float:
    """Return a duration in seconds.

    :raises ValueError: it is none.
    """
    if isinstance(duration, timedelta):
        return duration.total_seconds()
    return parse_duration(duration)
