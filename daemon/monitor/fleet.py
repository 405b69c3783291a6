"""What the monitor knows of the fleet: the pools and counts that the master tells of.

Counts are the totals of children that are gone (folded by the master), the last snapshot of each
child that lives, and the monitor's own last snapshot as it was sent to the master: what has been
shown is never forgotten, so counters never go backwards, whoever dies.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import chain, zip_longest
from typing import Any

import structlog

from queued.daemon.channel import Frame
from queued.daemon.metrics import Snapshot, fold, sound

log = structlog.get_logger()

RUNNING = ("idle", "busy")
"""The states of a worker that can take jobs."""


class Fleet:
    """Fed by ``hear`` with the master's frames."""

    def __init__(self) -> None:
        self.known = False
        """Whether the master has told of the fleet at all."""
        self.heard_at = 0.0
        """When it last did so, on the monotonic clock."""
        self.owners: dict[str, list[str]] = {}
        """The owners that live, by queue."""
        self.pools: dict[str, dict[str, Any]] = {}
        """By pool: state, desired, slots, workers by state, memory, heartbeat age, ..."""
        self.config_ok = True
        """Whether the last reload of queue.yaml succeeded."""
        self.own: Snapshot = {}
        """What the monitor itself has counted, as sent."""
        self._totals: Snapshot = {}
        self._children: dict[str, Snapshot] = {}
        self._awaited: set[str] | None = None
        """The owners of the first fleet that have not told of their counts; None: no fleet yet."""

    def hear(self, frame: Frame) -> None:
        """Take in a frame of the master; one that tells nothing of the fleet is ignored."""
        match frame["type"]:
            case "fleet":
                self.known, self.heard_at = True, time.monotonic()
                self.owners = frame["owners"]
                self.pools = frame["pools"]
                self._totals = frame["totals"]
                owners = set(chain(*self.owners.values()))
                self._forget_all_but({*frame.get("monitors", ()), *owners})
                if self._awaited is None:
                    self._awaited = owners - self._children.keys()
                self._awaited &= owners
                self.config_ok = frame.get("config_ok", True)
            case "snapshot":
                self._has_told(frame["child"])
                try:
                    self._children[frame["child"]] = sound(frame["data"])
                except (ValueError, TypeError, LookupError, AttributeError) as error:
                    # The master does not look into it, and the user's code can reach the channel.
                    log.warning("snapshot.broken", child=frame["child"], error=repr(error))
            case "exited":  # its last snapshot is in the totals: both change in one step
                self._children.pop(frame["child"], None)
                self._has_told(frame["child"])
                self._totals = frame["totals"]

    def _has_told(self, child: str) -> None:
        if self._awaited:
            self._awaited.discard(child)

    @property
    def complete(self) -> bool:
        """Whether everybody who lived when this monitor came has told of its counts.

        Before, the sum rises by what a worker has counted in its whole life when it is heard.
        """
        return self._awaited is not None and not self._awaited

    def _forget_all_but(self, living: set[str]) -> None:
        """Count nobody twice whose ``exited`` did not get through: the totals have it."""
        for child in self._children.keys() - living:
            del self._children[child]

    def counts(self) -> Snapshot:
        """Return the sum of all that was counted, gauges of the living included."""
        parts = [self._totals, *self._children.values(), self.own]
        while len(parts) > 1:  # by pairs: one after the other, each step would copy the whole sum
            pairs = zip_longest(parts[::2], parts[1::2], fillvalue=Snapshot())
            parts = [fold(one, other, gauges=True) for one, other in pairs]
        return parts[0]

    def series(self, kind: str, name: str) -> Iterable[list[Any]]:
        """Yield [labels, value] of one counter or gauge, from each that counted it, to be added."""
        for part in (self._totals, *self._children.values(), self.own):
            yield from part.get(kind, {}).get(name, ())
