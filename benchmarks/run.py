"""A run: scenario by scenario, round by round, system by system in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.results import Results, number
from benchmarks.scenarios.base import Scenario, Size
from benchmarks.server import Server
from benchmarks.stage import Failed, Stage
from benchmarks.systems import System


@dataclass(slots=True)
class Run:
    """Who performs what, and what came of it."""

    systems: Sequence[System]
    pythons: dict[str, Path]
    server: Server
    folder: Path
    size: Size
    say: Callable[[str], None]
    results: Results = field(default_factory=Results)
    failures: list[str] = field(default_factory=list)

    def perform(self, scenario: Scenario) -> None:
        """Measure a scenario in rounds, in each of which all its systems take their turn."""
        taking = [system for system in self.systems if scenario.takes(system)]
        if not taking:
            return
        self.say(f"{scenario.name}: {scenario.title}")
        rounds = min(self.size.rounds, scenario.rounds or self.size.rounds)
        for turn in range(1, rounds + 1):
            for system in taking:
                self._turn(scenario, system, f"{turn}/{rounds}")

    def _turn(self, scenario: Scenario, system: System, turn: str) -> None:
        began = time.monotonic()
        folder = self.folder / f"{system.name}-{scenario.name}"
        stage = Stage(system, self.pythons[system.name], self.server, folder)
        try:
            values = scenario.measure(stage, self.size)
        except Failed as error:
            self.failures.append(f"{scenario.name}, {error}")
            self.say(f"  FAILED {error}")
            return
        told = []
        for metric in scenario.metrics:
            if metric.name in values:
                self.results.add(metric, system.name, values[metric.name])
                told.append(f"{metric.title} {number(values[metric.name])} {metric.unit}")
        seconds = time.monotonic() - began
        self.say(f"  {turn} {system.name:<15} {', '.join(told)}  ({seconds:.0f} s)")
