"""What a worker counts, cheaply, and how its counts travel.

A child sends cumulative snapshots of plain values; the master keeps the last one of each child and
folds it into the totals when the child is gone; the monitor renders totals and living children.
Names stand here without their prefix ``queued_``; the catalogue of metrics says what each means.

A snapshot is ``{"counters": {name: [[labels, value], ...]}, "histograms": {name: [[labels, [count
per bucket, the last is +Inf], sum], ...]}, "gauges": {name: [[labels, value], ...]}}``.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

Labels = dict[str, str]
Snapshot = dict[str, dict[str, list[list[Any]]]]

OTHER = "other"
"""The label of whatever came after the first ``limit`` values of a ``Bounded`` label."""

_WAIT = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
_SIZE = tuple(256.0 * 4**power for power in range(9))
"""256 B to 16 MiB."""
_DRIVER = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

BUCKETS: dict[str, tuple[float, ...]] = {
    "job_wait_seconds": _WAIT,
    "job_end_to_end_seconds": _WAIT,
    "job_run_seconds": (0.005, 0.01, 0.025, *_WAIT[1:]),
    "job_payload_bytes": _SIZE,
    "event_loop_lag_seconds": _DRIVER[1:],
    "driver_operation_seconds": _DRIVER,
}
"""The upper bounds of each histogram, in the unit of its name, inclusive; +Inf is implied."""


class Counter:
    """One series that only rises. The hot path adds to ``value`` itself."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0


class Gauge(Counter):
    """One series that is set."""

    __slots__ = ()


class Histogram:
    """One series of observations, counted by bucket (each alone, not cumulative)."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


S = TypeVar("S")


class Family(Generic[S]):
    """A metric with its series, one for each set of label values, made when first asked for."""

    def __init__(self, make: Callable[[], S], names: tuple[str, ...]) -> None:
        self._make = make
        self._names = names
        self._series: dict[tuple[str, ...], S] = {}

    def series(self, *values: str) -> S:
        """Return the series of these label values, in the order of the label names."""
        found = self._series.get(values)
        if found is None:
            found = self._series[values] = self._make()
        return found

    def items(self) -> Iterable[tuple[Labels, S]]:
        for values, series in self._series.items():
            yield dict(zip(self._names, values, strict=True)), series


class Metrics:
    """The metrics of one process."""

    def __init__(self) -> None:
        self._counters: dict[str, Family[Counter]] = {}
        self._gauges: dict[str, Family[Gauge]] = {}
        self._histograms: dict[str, Family[Histogram]] = {}

    def counter(self, name: str, *labels: str) -> Family[Counter]:
        return self._counters.setdefault(name, Family(Counter, labels))

    def gauge(self, name: str, *labels: str) -> Family[Gauge]:
        return self._gauges.setdefault(name, Family(Gauge, labels))

    def histogram(self, name: str, *labels: str) -> Family[Histogram]:
        bounds = BUCKETS[name]
        return self._histograms.setdefault(name, Family(lambda: Histogram(bounds), labels))

    def snapshot(self) -> Snapshot:
        """Return everything counted so far, as values that JSON knows."""
        return {
            "counters": {
                name: [[labels, series.value] for labels, series in family.items()]
                for name, family in self._counters.items()
            },
            "histograms": {
                name: [
                    [labels, list(series.counts), series.sum] for labels, series in family.items()
                ]
                for name, family in self._histograms.items()
            },
            "gauges": {
                name: [[labels, series.value] for labels, series in family.items()]
                for name, family in self._gauges.items()
            },
        }


class Bounded:
    """A label whose values come from outside: the first ``limit`` stay, later ones are ``other``.

    ``dropped`` counts what was folded into ``other``.
    """

    def __init__(self, limit: int, dropped: Counter) -> None:
        self._limit = limit
        self._known: set[str] = set()
        self._dropped = dropped

    def __call__(self, value: str) -> str:
        if value not in self._known:
            if len(self._known) >= self._limit:
                self._dropped.value += 1
                return OTHER
            self._known.add(value)
        return value


def sound(snapshot: Any, before: Snapshot | None = None) -> Snapshot:
    """Return what a child has sent, if it is a snapshot in every part.

    The user's code can reach a child's channel, and what is not a number would spoil each sum that
    it goes into.

    :param before: one that is sound: what is the same in both, as most is each second, is not
        looked at again.
    :raises (ValueError, TypeError, LookupError, AttributeError): it is none.
    """
    for kind, families in snapshot.items():
        known = before.get(kind, {}) if before else {}
        for name, series in families.items():
            if name in known and series == known[name]:
                continue
            _check_name(kind, name)
            for labels, *values in series:
                _check_labels(name, labels)
                if kind == "histograms":
                    counts, total = values
                    values = [*counts, total]  # noqa: PLW2901  all of them are numbers
                    _check_buckets(name, counts)
                elif len(values) != 1:
                    raise ValueError(f"{name}: expected one value")
                if not all(map(_is_number, values)) or (kind == "counters" and values[0] < 0):
                    raise ValueError(f"{name}: no numbers: {values!r}")
    found: Snapshot = snapshot
    return found


_NAME = re.compile("[a-z_]{1,80}")
_MOST_LABELS, _LONGEST_LABELS = 5, 2_000
"""The names of classes are the longest, and have a thousand characters at most."""
_HUGE = 1e300
"""Beyond it a sum would no longer be a number."""


def _check_name(kind: str, name: str) -> None:
    if not _NAME.fullmatch(kind) or not _NAME.fullmatch(name):
        raise ValueError(f"no names: {kind!r} {name!r}")
    if kind == "histograms" and name not in BUCKETS:
        raise ValueError(f"no histogram: {name!r}")
    if (kind == "counters") is not name.endswith("_total"):
        raise ValueError(f"no {kind}: {name!r}: the formats tell counters by their names")


def _check_labels(name: str, labels: Labels) -> None:
    if not all(map(_NAME.fullmatch, labels)):
        raise ValueError(f"{name}: no names: {labels!r}")
    if len(labels) > _MOST_LABELS or sum(map(len, labels.values())) > _LONGEST_LABELS:
        raise ValueError(f"{name}: too many labels, or too long")
    for value in labels.values():
        value.encode()  # text, and none that cannot be shown


def _check_buckets(name: str, counts: Sequence[Any]) -> None:
    if len(counts) != len(BUCKETS[name]) + 1 or min(counts) < 0:
        raise ValueError(f"{name}: no buckets: {counts!r}")


def _is_number(value: Any) -> bool:
    return type(value) in {int, float} and abs(value) < _HUGE
