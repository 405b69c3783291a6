"""What the monitor knows of the fleet: the pools and counts that the master tells of.

Counts are the totals of children that are gone (folded by the master), the last snapshot of each
child that lives, and the monitor's own last snapshot as it was sent to the master: what has been
shown is never forgotten, so counters never go backwards, whoever dies.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import structlog

from queued.daemon.channel import Frame
from queued.daemon.metrics import Snapshot, sound
from queued.daemon.tally import Names, Tally, rows, scope_of, zero

log = structlog.get_logger()

RUNNING = ("idle", "busy")
"""The states of a worker that can take jobs."""
_SUMMED = ("counters", "histograms")
"""What outlives its child."""


@dataclass(frozen=True, slots=True)
class View:
    """The fleet at one moment. Nothing changes it any more, so another thread can read it."""

    complete: bool
    pools: Mapping[str, Mapping[str, Any]]
    config_ok: bool
    started_at: float | None
    totals: Mapping[str, Snapshot]
    names: Mapping[str, Names]
    living: Sequence[Snapshot]

    def counts(self) -> Snapshot:
        """Return the sum of all that was counted, gauges of the living included."""
        tally = Tally()
        for one in self.totals.values():
            for kind, name, row in rows(one):
                tally.add(kind, name, *row)
        for one in self.living:
            for kind, name, (labels, *values) in rows(one):
                names = self.names.get(scope_of(labels))
                bound = names.bound(labels, admit=False) if names else None
                if bound is not None:
                    tally.add(kind, name, bound, *values)
        return tally.snapshot()


class Fleet:
    """Fed by ``hear`` with the master's frames."""

    def __init__(self) -> None:
        self.known = False
        """Whether the master has told of the fleet at all."""
        self.complete = False
        """Whether the counts of all children are here: a part of the sum would look like a counter
        that was reset."""
        self.heard_at = 0.0
        """When it last told of the fleet, on the monotonic clock."""
        self.owners: dict[str, list[str]] = {}
        """The owners that live, by queue."""
        self.pools: dict[str, dict[str, Any]] = {}
        """By pool: state, desired, slots, workers by state, memory, heartbeat age, ..."""
        self.config_ok = True
        """Whether the last reload of queue.yaml succeeded."""
        self.started_at: float | None = None
        """When the daemon was started, in seconds since the epoch."""
        self.own: Snapshot = {}
        """What the monitor itself has counted, as sent."""
        self._totals: dict[str, Snapshot] = {}
        self._names: dict[str, Names] = {}
        self._children: dict[str, Snapshot] = {}
        self._admitted: dict[str, int] = {}
        """By child, how many series it had when all of their names were let in: it has no other
        names while it has as many."""
        self._missing: set[str] = set()
        """Children whose snapshots the master has and we do not."""
        self._awaited: set[str] = set()
        """Totals that the master has and we do not: they come in parts."""

    def hear(self, frame: Frame) -> None:
        """Take in a frame of the master; one that tells nothing of the fleet is ignored."""
        match frame["type"]:
            case "fleet":
                self._hear_of_fleet(frame)
            case "snapshot":
                self._missing.discard(frame["child"])
                try:
                    before = self._children.get(frame["child"])
                    self._children[frame["child"]] = sound(frame["data"], before)
                except (ValueError, TypeError, LookupError, AttributeError) as error:
                    # The master does not look into it, and the user's code can reach the channel.
                    log.warning("snapshot.broken", child=frame["child"], error=repr(error))
            case "exited":  # its last snapshot is in the totals: both change in one step
                self._forget(frame["child"])
                self._take(frame["totals"])
        self.complete |= self.known and not self._missing and not self._awaited

    def _hear_of_fleet(self, frame: Frame) -> None:
        self.heard_at = time.monotonic()
        self.owners = frame["owners"]
        self.pools = frame["pools"]
        self.config_ok = frame.get("config_ok", True)
        self.started_at = frame.get("started_at")
        self._take(frame["totals"])
        for gone in self._totals.keys() - {*frame["scopes"]}:
            del self._totals[gone], self._names[gone]
            self._admitted.clear()
        self._awaited = {*frame["scopes"]} - self._totals.keys()
        # Count nobody twice whose ``exited`` did not get through: the totals have it.
        living = {*frame.get("monitors", ()), *chain(*self.owners.values())}
        for child in self._children.keys() - living:
            self._forget(child)
        if not self.known:
            self._missing = {*frame.get("reported", ())} - self._children.keys()
        self._missing &= living
        self.known = True

    def _forget(self, child: str) -> None:
        self._children.pop(child, None)
        self._admitted.pop(child, None)
        self._missing.discard(child)

    def _take(self, totals: Mapping[str, Snapshot]) -> None:
        """Replace the totals of the pools that are told of."""
        for scope, snapshot in totals.items():
            self._totals[scope] = snapshot
            names = self._names[scope] = Names()
            for _, _, (labels, *_) in rows(snapshot):
                names.bound(labels, admit=True)

    def unadmitted(self) -> Snapshot:
        """Return, at zero, the series that wait for the master to let in their names."""
        found = Tally()
        for child, one in (*self._children.items(), ("", self.own)):
            size = sum(map(len, chain(*(one.get(kind, {}).values() for kind in _SUMMED))))
            if self._admitted.get(child) == size:
                continue
            waits = False
            for kind, name, row in rows(one, *_SUMMED):
                names = self._names.get(scope_of(row[0]))
                if names is None:
                    waits = True  # for the master to tell of its pool
                elif names.bound(row[0], admit=False) is None:
                    waits = True
                    found.add(kind, name, *zero(row))
            if not waits:
                self._admitted[child] = size
        return found.snapshot()

    def view(self) -> View:
        """Return what is known now."""
        return View(
            complete=self.complete,
            pools=self.pools,
            config_ok=self.config_ok,
            started_at=self.started_at,
            totals=dict(self._totals),
            names=dict(self._names),
            living=[*self._children.values(), self.own],
        )

    def series(self, kind: str, name: str) -> Iterable[list[Any]]:
        """Yield [labels, value] of one counter or gauge, from each that counted it, to be added."""
        for part in (*self._totals.values(), *self._children.values(), self.own):
            yield from part.get(kind, {}).get(name, ())
