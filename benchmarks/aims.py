"""What the figures are to reach, against peers of the same run or absolutely. A report only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.results import TIMES, Results, number
from benchmarks.systems import QUEUED, QUEUED_SQLITE


@dataclass(frozen=True, slots=True)
class Aim:
    """At least ``factor`` times the best of ``peers``, or an absolute ``value``."""

    metric: str
    factor: float = 0.0
    peers: tuple[str, ...] = ()
    value: float | None = None
    ours: str = QUEUED.name

    def verdict(self, results: Results) -> Verdict | None:
        """Compare; None if it was not measured."""
        mine = results.median(self.metric, self.ours)
        if mine is None:
            return None
        metric = results.metrics[self.metric]
        if self.value is not None:
            reached = mine <= self.value if metric.lower else mine >= self.value
            sign = "≤" if metric.lower else "≥"
            aim = f"{sign} {self.value:,g} {metric.unit}"
            return Verdict(metric.title, aim, f"{number(mine)} {metric.unit}", reached)
        peer = results.best(self.metric, self.peers)
        ratio = results.ratio(self.metric, self.ours, peer) if peer else None
        if ratio is None:
            return None
        aim = f"≥ {self.factor:g} {TIMES} {peer}"
        return Verdict(metric.title, aim, f"{ratio:.2f} {TIMES}", ratio >= self.factor)


@dataclass(frozen=True, slots=True)
class Verdict:
    metric: str
    aim: str
    found: str
    reached: bool


REDIS_PEERS = (
    "huey", "taskiq-streams", "taskiq-list", "saq", "dramatiq", "celery", "streaq", "arq", "rq",
)  # fmt: skip
SQLITE = QUEUED_SQLITE.name

AIMS = (
    Aim("drain", 6, ("taskiq-streams",)),
    Aim("drain", 4, ("huey",)),
    Aim("drain", value=45_000),
    Aim("drain-2", 4, ("taskiq-streams",)),
    Aim("enqueue", 8, REDIS_PEERS),
    Aim("dispatch", 1, REDIS_PEERS),
    Aim("dispatch-sync", 0.9, ("huey",)),
    Aim("dispatch-sync", 1, ("dramatiq",)),
    Aim("dispatch-200", 2, ("saq",)),
    Aim("latency-p50", value=0.5),
    Aim("latency-p99", value=1.5),
    Aim("sleep", value=95),
    Aim("plain", 2, ("dramatiq",)),
    Aim("sqlite-drain", value=10_000, ours=SQLITE),
    Aim("sqlite-drain", 2, ("huey-sqlite",), ours=SQLITE),
    Aim("sqlite-enqueue", value=80_000, ours=SQLITE),
    Aim("worker-idle-commands", value=1),
    Aim("worker-idle-cpu", value=0.3),
    Aim("worker-uss", value=10),
    Aim("worker-pss-20", value=12),
    Aim("import", value=150),
)


def verdicts(results: Results) -> Sequence[Verdict]:
    """Return the verdict of each aim that this run has figures for."""
    return [verdict for aim in AIMS if (verdict := aim.verdict(results))]
