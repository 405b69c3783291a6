"""A full queue and workers that start: enqueue everything, then run it, and time both.

The clock of a drain goes from the start of the first job to the end of the last one; processes
and connections are made before. See ``watch.rate``.
"""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.peers.base import SLEEP
from benchmarks.results import Metric
from benchmarks.scenarios.base import CONCURRENCY, Scenario, Size, redis_job
from benchmarks.stage import Stage

MANY_SLEEPERS = 500


def _drain(stage: Stage, size: Size) -> Mapping[str, float]:
    enqueued = stage.enqueue("noop", size.jobs)
    with stage.worker(1, CONCURRENCY) as worker:
        drained = worker.until_done(size.jobs, cap=size.cap)
    return {"enqueue": enqueued, "drain": drained}


def _two(stage: Stage, size: Size) -> Mapping[str, float]:
    stage.enqueue("noop", size.jobs)
    with stage.worker(2, CONCURRENCY) as worker:
        return {"drain-2": worker.until_done(size.jobs, cap=size.cap)}


def _sleep(stage: Stage, size: Size) -> Mapping[str, float]:
    stage.enqueue("sleep", size.sleepers)
    with stage.worker(1, MANY_SLEEPERS, "sleep") as worker:
        rate = worker.until_done(size.sleepers, cap=size.cap)
    return {"sleep": 100 * rate * SLEEP / MANY_SLEEPERS}


def _plain(stage: Stage, size: Size) -> Mapping[str, float]:
    stage.enqueue("plain", size.jobs)
    with stage.worker(1, CONCURRENCY, "plain") as worker:
        return {"plain": worker.until_done(size.jobs, cap=size.cap)}


def _sqlite(stage: Stage, size: Size) -> Mapping[str, float]:
    values = _drain(stage, size)
    return {f"sqlite-{name}": value for name, value in values.items()}


DRAIN = Scenario(
    "drain",
    "no-op jobs, one worker, concurrency 32",
    [
        Metric("enqueue", "enqueue, best way", "jobs/s"),
        Metric("drain", "drain, 1 worker", "jobs/s"),
    ],
    redis_job("noop"),
    _drain,
)
TWO = Scenario(
    "drain-2",
    "no-op jobs, two workers",
    [Metric("drain-2", "drain, 2 workers", "jobs/s")],
    redis_job("noop"),
    _two,
)
SLEEPERS = Scenario(
    "sleep",
    "jobs that sleep 100 ms, concurrency 500",
    [Metric("sleep", "100 ms jobs at 500", "% of ideal")],
    redis_job("sleep"),
    _sleep,
)
PLAIN = Scenario(
    "plain",
    "no-op plain functions in threads",
    [Metric("plain", "plain functions", "jobs/s")],
    redis_job("plain"),
    _plain,
)
SQLITE = Scenario(
    "sqlite",
    "SQLite in a file: enqueue, drain",
    [
        Metric("sqlite-enqueue", "SQLite, enqueue", "jobs/s"),
        Metric("sqlite-drain", "SQLite, drain", "jobs/s"),
    ],
    lambda system: system.backend == "sqlite",
    _sqlite,
)
