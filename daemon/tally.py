"""Snapshots added up, with the labels that come from outside bounded over all of them.

A worker bounds what it names, but each worker, and each code that a restart brings, may name
others. So the first names of a queue stay, and later ones are counted as ``other``. The master,
which sums up for good, admits names; the monitor shows a name when the master has admitted it.
Thus no count ever moves from one series to another, whoever dies.

What a series belongs to is its *scope*: the queue or the pool that it names, which bear the same
name; "" for what belongs to the whole daemon.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from operator import add
from typing import Any

from queued.daemon.metrics import OTHER, Labels, Snapshot

LIMITS = {"error": 10, "job_class": 200}
"""How many values of a label one queue may have, over all workers and for as long as it is served,
beside ``other``."""

MOST_SERIES = 5_000
"""Series of one queue: more than 200 classes and all else need. A job can write to its worker's
channel, and would have us count under labels that never end."""

KINDS = ("counters", "histograms", "gauges")

Row = list[Any]
"""A series of a snapshot: its labels, then one value, or the buckets and the sum."""


def rows(snapshot: Mapping[str, Any], *kinds: str) -> Iterator[tuple[str, str, Row]]:
    """Yield kind, name and row of every series of a snapshot."""
    for kind in kinds or KINDS:
        for name, series in snapshot.get(kind, {}).items():
            for row in series:
                yield kind, name, row


def scope_of(labels: Labels) -> str:
    return labels.get("queue") or labels.get("pool") or ""


def zero(row: Row) -> Row:
    """Return a series as it is before anything was counted."""
    labels, *values = row
    return [labels, *([0] * len(one) if isinstance(one, list) else 0 for one in values)]


class Names:
    """The values that the bounded labels of one queue have."""

    def __init__(self) -> None:
        self._known: dict[str, set[str]] = {label: set() for label in LIMITS}

    def bound(self, labels: Labels, *, admit: bool) -> Labels | None:
        """Return the labels that a series is counted under: its own, or ``other`` when it is full.

        :param admit: let new names in; without, None is returned for them while there is room.
        """
        for label, limit in LIMITS.items():
            name = labels.get(label, OTHER)
            known = self._known[label]
            if name == OTHER or name in known:
                continue
            if len(known) >= limit:
                labels = {**labels, label: OTHER}
            elif admit:
                known.add(name)
            else:
                return None
        return labels


class Tally:
    """A sum of snapshots, series by series. What is added is never changed.

    :param most: series that it may have; new ones beyond are left out.
    """

    def __init__(self, most: float = math.inf) -> None:
        self._most = most
        self._size = 0
        self._sum: dict[str, dict[str, dict[frozenset[tuple[str, str]], Row]]] = {
            kind: {} for kind in KINDS
        }

    def add(self, kind: str, name: str, labels: Labels, *values: Any) -> None:
        """Add one series.

        :raises (ValueError, TypeError, LookupError): it is none, or has other buckets than before.
        """
        series = self._sum[kind].setdefault(name, {})
        key = frozenset(labels.items())
        known = series.get(key)
        if known is None:
            if self._size < self._most:
                self._size += 1
                series[key] = [labels, *values]
        elif kind == "histograms":
            counts, total = values
            if len(counts) != len(known[1]):
                raise ValueError(f"{name}: {len(counts)} buckets, not {len(known[1])}")
            series[key] = [labels, list(map(add, known[1], counts)), known[2] + total]
        else:
            known[1] += values[0]

    def snapshot(self) -> Snapshot:
        """Return the sum; it is a view, and changes with what is added."""
        return {
            kind: {name: list(series.values()) for name, series in families.items()}
            for kind, families in self._sum.items()
        }
