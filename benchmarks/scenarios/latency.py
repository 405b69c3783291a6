"""From the call of dispatch to the first line of the handler, on an idle worker."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from benchmarks.results import Metric
from benchmarks.scenarios.base import CONCURRENCY, Scenario, Size, redis_job
from benchmarks.stage import Stage

RATE = 100
"""Jobs a second."""
WARM = 20
"""Jobs before the first that counts."""


def _latency(stage: Stage, size: Size) -> Mapping[str, float]:
    with stage.worker(1, CONCURRENCY) as worker:
        stage.enqueue("noop", WARM, "one")
        worker.until_done(WARM)
        stage.agent("latency", "", size.stamps, RATE)
        worker.until_done(WARM + 1 + size.stamps)
        delays = [1000 * delay for delay in worker.ticks.delays()]
    return {
        "latency-p50": statistics.median(delays),
        "latency-p99": statistics.quantiles(delays, n=100, method="inclusive")[98],
    }


LATENCY = Scenario(
    "latency",
    "dispatch to start on an idle worker, 100 jobs a second",
    [
        Metric("latency-p50", "latency p50", "ms", lower=True),
        Metric("latency-p99", "latency p99", "ms", lower=True),
    ],
    redis_job("stamp"),
    _latency,
)
