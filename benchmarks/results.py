"""Values by metric, system and round; medians and ratios of them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field

ROUNDED_FROM = 100
TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True, slots=True)
class Metric:
    """Something measured. ``title`` stands over its column."""

    name: str
    title: str
    unit: str
    lower: bool = False
    """Whether lower is better."""


@dataclass(slots=True)
class Results:
    """What was measured. Rounds are interleaved, so values of one index belong together."""

    metrics: dict[str, Metric] = field(default_factory=dict)
    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, metric: Metric, system: str, value: float) -> None:
        self.metrics.setdefault(metric.name, metric)
        self.values.setdefault(metric.name, {}).setdefault(system, []).append(value)

    def systems(self) -> list[str]:
        """Return the names of all systems in the order in which they were measured first."""
        return list(dict.fromkeys(name for of in self.values.values() for name in of))

    def median(self, metric: str, system: str) -> float | None:
        found = self.values.get(metric, {}).get(system)
        return statistics.median(found) if found else None

    def ratio(self, metric: str, ours: str, peer: str) -> float | None:
        """Return how many times better the median of ``ours`` is than that of ``peer``."""
        mine, theirs = self.median(metric, ours), self.median(metric, peer)
        if mine is None or theirs is None or not mine or not theirs:
            return None
        return theirs / mine if self.metrics[metric].lower else mine / theirs

    def best(self, metric: str, among: Iterable[str]) -> str | None:
        """Return the system with the best median; None if none of them was measured."""
        found = [(self.median(metric, name), name) for name in among]
        known = [(value, name) for value, name in found if value is not None]
        if not known:
            return None
        choose = min if self.metrics[metric].lower else max
        return choose(known)[1]


def number(value: float) -> str:
    """Return three digits that mean something, or all of a large number."""
    return f"{value:,.0f}" if value >= ROUNDED_FROM else f"{value:.3g}"
