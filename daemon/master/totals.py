"""The counts of children that are gone, summed up: what keeps counters from going backwards."""

from __future__ import annotations

import json

import structlog

from queued.daemon.metrics import Snapshot, fold, sound

log = structlog.get_logger()


class Totals:
    """Only grows. ``encoded`` is JSON, made once per change, since it is sent far more often."""

    def __init__(self) -> None:
        self._sum: Snapshot = {}
        self.encoded = b"{}"

    def add(self, name: str, snapshot: bytes) -> None:
        """Add the last frame of a child that is gone; one that is broken is left out."""
        try:
            self._fold(sound(json.loads(snapshot)["data"]))
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            log.warning("snapshot.broken", child=name, error=repr(error))

    def count_exit(self, pool: str, reason: str) -> None:
        """Count the end of a worker."""
        self._fold({"counters": {"worker_exits_total": [[{"pool": pool, "reason": reason}, 1]]}})

    def _fold(self, snapshot: Snapshot) -> None:
        self._sum = fold(self._sum, snapshot)
        self.encoded = json.dumps(self._sum, separators=(",", ":")).encode()
