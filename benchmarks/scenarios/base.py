"""What a scenario is, and how much of it there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.results import Metric
from benchmarks.stage import Stage
from benchmarks.systems import System

CONCURRENCY = 32


@dataclass(frozen=True, slots=True)
class Size:
    """How much a run measures."""

    rounds: int = 3
    jobs: int = 20_000
    awaited: int = 5_000
    """Jobs dispatched one after another, or 200 at once."""
    sleepers: int = 5_000
    stamps: int = 300
    watched: int = 1_000
    """Jobs whose commands are counted; then three times as many."""
    idle: float = 10.0
    """Seconds that workers are watched doing nothing."""
    cap: float = 15.0
    """Seconds after which the drain of a slow system is cut short: its rate is steady by then."""


QUICK = Size(
    rounds=1, jobs=2_000, awaited=600, sleepers=1_000, stamps=50, watched=200, idle=1.0, cap=3.0
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Something that systems do in turn, round by round."""

    name: str
    title: str
    metrics: Sequence[Metric]
    takes: Callable[[System], bool]
    """Whether a system takes part."""
    measure: Callable[[Stage, Size], Mapping[str, float]]
    """Perform once, and return values by the metric's name; some may be missing."""
    rounds: int | None = None
    """Fewer than the run's, where values hardly vary."""


def redis_job(job: str) -> Callable[[System], bool]:
    """Return whether a system has a job of that name, on Redis."""
    return lambda system: system.backend == "redis" and job in system.jobs
