"""Failed jobs older than ``retain_failed`` are removed: by every monitor, a batch at a time.

Each batch is one verb, so two monitors that prune at once remove no more than one would.
"""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from queued.daemon.duty import for_each
from queued.daemon.reach import Reach
from queued.daemon.spec import QueueSpec
from queued.drivers.base import MAX_BATCH, Driver

log = structlog.get_logger()

PRUNE_EVERY = 60.0
BATCHES = 20
"""Of one queue in one turn: whoever retains less from now on has a million removed in an hour."""


class Pruner:
    """Knows for how long each queue keeps its failed jobs."""

    def __init__(self, driver: Driver, reach: Reach, queues: Mapping[str, QueueSpec]) -> None:
        self._driver = driver
        self._reach = reach
        self._retain = {
            name: one.retain_failed for name, one in queues.items() if one.retain_failed
        }

    async def turn(self) -> None:
        """Remove what is too old."""
        await for_each(self._retain, self._prune)

    async def _prune(self, queue: str) -> int:
        removed, seconds = 0, self._retain[queue]
        for _ in range(BATCHES):
            with self._reach.watch("prune"):
                count = await self._driver.prune(queue, seconds)
            removed += count
            if count < MAX_BATCH:
                break
        if removed:
            log.info("failed.pruned", queue=queue, jobs=removed, older_than=seconds)
        return removed
