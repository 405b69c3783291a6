"""Dispatching as programs do: one after another, awaited or not, and 200 at once."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.results import Metric
from benchmarks.scenarios.base import Scenario, Size
from benchmarks.stage import Stage


def _dispatch(stage: Stage, size: Size) -> Mapping[str, float]:
    values = {}
    if "async" in stage.system.styles:
        values["dispatch"] = stage.enqueue("noop", size.awaited, "one", "async")
        values["dispatch-200"] = stage.enqueue("noop", 4 * size.awaited, "together", "async")
    if "sync" in stage.system.styles:
        values["dispatch-sync"] = stage.enqueue("noop", size.awaited, "one", "sync")
    return values


DISPATCH = Scenario(
    "dispatch",
    "dispatch one after another, awaited and blocking, and 200 at once",
    [
        Metric("dispatch", "dispatch, awaited", "jobs/s"),
        Metric("dispatch-sync", "dispatch, blocking", "jobs/s"),
        Metric("dispatch-200", "dispatch, 200 at once", "jobs/s"),
    ],
    lambda system: system.backend == "redis",
    _dispatch,
)
