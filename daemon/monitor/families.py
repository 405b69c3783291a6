"""Prometheus families under our names.

The series that children count come as they are in a snapshot (see ``daemon/metrics.py``): labels
with a value; of a histogram with its counts, one for each bucket, and their total.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.utils import floatToGoString

from queued.daemon.metrics import BUCKETS

PREFIX = "queued_"


def gauge(
    name: str,
    documentation: str,
    labels: Sequence[str] | None = None,
    value: float | None = None,
) -> GaugeMetricFamily:
    """Return a gauge; without labels it has its ``value`` at once."""
    return GaugeMetricFamily(f"{PREFIX}{name}", documentation, value=value, labels=labels)


def by_queue(name: str, documentation: str, values: Mapping[str, float | None]) -> Metric:
    """Return a gauge with a series for each queue; None: that one has none."""
    family = gauge(name, documentation, ["queue"])
    for queue, value in values.items():
        if value is not None:
            family.add_metric([queue], value)
    return family


def counter_of(name: str, documentation: str, series: Iterable[Any]) -> Metric:
    """Return the counter of these series."""
    family = CounterMetricFamily(PREFIX + name.removesuffix("_total"), documentation)
    for labels, value in series:
        family.add_sample(f"{PREFIX}{name}", labels, value)
    return family


def gauge_of(name: str, documentation: str, series: Iterable[Any]) -> Metric:
    """Return the gauge of these series."""
    family = gauge(name, documentation)
    for labels, value in series:
        family.add_sample(f"{PREFIX}{name}", labels, value)
    return family


def histogram_of(name: str, documentation: str, series: Iterable[Any]) -> Metric:
    """Return the histogram of these series."""
    family = HistogramMetricFamily(f"{PREFIX}{name}", documentation)
    bounds = [*map(floatToGoString, BUCKETS[name]), "+Inf"]
    for labels, counts, total in series:
        running = list(accumulate(counts))
        for bound, count in zip(bounds, running, strict=True):
            family.add_sample(f"{PREFIX}{name}_bucket", {**labels, "le": bound}, count)
        family.add_sample(f"{PREFIX}{name}_count", labels, running[-1])
        family.add_sample(f"{PREFIX}{name}_sum", labels, total)
    return family
