"""Runs that take longer than the queue's ``slow_after``: told of once each, while they run."""

from __future__ import annotations

from collections.abc import Collection

import structlog

from queued.daemon.worker.run import Run
from queued.daemon.worker.whereabouts import whereabouts
from queued.units import format_duration

log = structlog.get_logger()


class SlowRuns:
    """Looks for slow ones among the runs of a worker.

    :param running: those that run now; the collection changes.
    :param after: seconds.
    """

    def __init__(self, running: Collection[Run], after: float) -> None:
        self._running = running
        self._after = after
        self._told: set[Run] = set()

    def look(self, now: float) -> None:
        """Tell of the runs that have become slow; ``now`` is monotonic."""
        if self._told:
            self._told.intersection_update(self._running)
        limit = now - self._after
        for run in self._running:
            if 0 < run.started <= limit and run not in self._told:
                self._told.add(run)
                self._tell(run, now - run.started)

    def _tell(self, run: Run, seconds: float) -> None:
        names = run.names()
        short = str(names["job"]).rpartition(".")[2]
        log.warning(
            "job.slow",
            message=f"{short} has been running for {format_duration(seconds)}"
            f" (slow_after is {format_duration(self._after)})",
            seconds=round(seconds, 3),
            **names,
            stack=whereabouts([run]),
        )
