"""What a soak tells at its end: faults, jobs, duplicates, and how soon the work went on."""

from __future__ import annotations

import bisect
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from rich.console import Console, JustifyMethod
from rich.table import Table

from tests.chaos.ledger import UNTIL_BACK, Fault, Ledger, Run
from tests.chaos.oracle import Judgement

SLOWEST = 10


@dataclass(slots=True)
class Times:
    """Seconds, as they were measured."""

    seconds: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        if not self.seconds:
            return {}
        ranked = sorted(self.seconds)
        return {
            "median": round(statistics.median(ranked), 3),
            "p99": round(ranked[math.ceil(0.99 * len(ranked)) - 1], 3),
            "max": round(ranked[-1], 3),
        }

    def __str__(self) -> str:
        return " ".join(f"{value:.3f}" for value in self.summary().values())


@dataclass(slots=True)
class Damage:
    """What the faults of one kind did."""

    count: int = 0
    jobs: int = 0
    """Runs that they cut short."""
    first: Times = field(default_factory=Times)
    """From a fault to the next run of a job that it cut short: one sample a fault."""
    each: Times = field(default_factory=Times)
    """The same for every such job: those that crashed before run alone, one after the other."""
    amid: Times = field(default_factory=Times)
    """The same where the back-end was away, or the master or the monitor killed, meanwhile or
    shortly before: such samples are in none of the two above."""
    resumed: Times = field(default_factory=Times)
    """From the end of a fault to the next run of any job."""
    slowest: list[tuple[float, str]] = field(default_factory=list)
    """The longest waits for another run, and whose they were."""

    def to_json(self) -> dict[str, Any]:
        times = {
            "first": self.first,
            "each": self.each,
            "amid": self.amid,
            "resumed": self.resumed,
        }
        return (
            {"count": self.count, "jobs": self.jobs}
            | {name: one.summary() for name, one in times.items()}
            | {"slowest": [f"{seconds:.3f} s: {whose}" for seconds, whose in self.slowest]}
        )


class Report:
    """Sums up rounds of one back-end."""

    def __init__(self) -> None:
        self.damages: defaultdict[str, Damage] = defaultdict(Damage)
        self.jobs: Counter[str] = Counter()
        self.sums: Counter[str] = Counter()

    def add(self, ledger: Ledger, judgement: Judgement) -> None:
        """Count a round that has been judged."""
        self.jobs += judgement.jobs
        names = ("done", "failed", "runs", "duplicates", "unsettled", "doubted")
        self.sums.update({name: getattr(judgement, name) for name in names})
        self.sums["acknowledged"] += judgement.jobs.total()
        runs, faults = ledger.runs(), ledger.faults()
        begins = sorted(run.began for those in runs.values() for run in those)
        cut = _cut_short(runs)
        wide = [fault for fault in faults if fault.outage or not fault.pids]
        for fault in faults:
            self._add_fault(fault, [pair for pair in cut if _cuts(fault, *pair)], wide)
            damage = self.damages[fault.kind]
            after = bisect.bisect_right(begins, fault.ended)
            if after < len(begins):
                damage.resumed.seconds.append(begins[after] - fault.ended)

    def _add_fault(
        self, fault: Fault, cut: Sequence[tuple[Run, Run]], wide: Sequence[Fault]
    ) -> None:
        damage = self.damages[fault.kind]
        damage.count += 1
        damage.jobs += len(cut)
        others = [one for one in wide if one is not fault and one.ended + UNTIL_BACK > fault.began]
        waits = []
        for first, second in cut:
            seconds = second.began - fault.began
            damage.slowest.append((seconds, _tell(fault, first, second)))
            if any(one.began < second.began for one in others):
                damage.amid.seconds.append(seconds)
            else:
                waits.append(seconds)
        damage.slowest = sorted(damage.slowest, reverse=True)[:SLOWEST]
        if waits:
            damage.first.seconds.append(min(waits))
            damage.each.seconds += waits

    def to_json(self) -> dict[str, Any]:
        faults = {name: damage.to_json() for name, damage in sorted(self.damages.items())}
        return {**self.sums, "jobs": dict(self.jobs), "faults": faults}

    def print(self, console: Console) -> None:
        console.print("seconds: median, p99, max", style="dim")
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in (
            "fault",
            "count",
            "jobs cut",
            "first rerun",
            "every rerun",
            "amid others",
            "resumed",
        ):
            justify: JustifyMethod = "left" if name == "fault" else "right"
            table.add_column(name, justify=justify, no_wrap=True)
        for name, damage in sorted(self.damages.items()):
            times = (str(damage.first), str(damage.each), str(damage.amid), str(damage.resumed))
            table.add_row(name, str(damage.count), str(damage.jobs), *times)
        console.print(table)
        kinds = ", ".join(f"{number:,} {name}" for name, number in sorted(self.jobs.items()))
        console.print(f"jobs: {kinds}")
        sums = self.sums
        console.print(
            f"{sums['acknowledged']:,} acknowledged, {sums['doubted']:,} in doubt;"
            f" {sums['runs']:,} runs, {sums['done']:,} done, {sums['failed']:,} failed;"
            f" {sums['duplicates']:,} duplicates of {sums['unsettled']:,} that faults allowed"
        )


def _cut_short(runs: Mapping[str, Sequence[Run]]) -> list[tuple[Run, Run]]:
    """Return each run that came to no end, with the one that followed it."""
    return [
        (first, second)
        for those in runs.values()
        for first, second in pairwise(those)
        if first.ended is None
    ]


def _cuts(fault: Fault, first: Run, second: Run) -> bool:
    hit = fault.pids is None or first.pid in fault.pids
    return hit and first.began <= fault.ended and fault.began <= second.began


def _tell(fault: Fault, first: Run, second: Run) -> str:
    return (
        f"{first.job_id} was in run {first.attempt} in process {first.pid} at {fault.began:.3f},"
        f" next in {second.pid}"
    )
