"""Random load, random faults, and the oracle: ``python -m tests.chaos.soak --seconds 600``.

It goes in rounds. Each has a ledger of its own and ends with a drain and a judgement, so that hours
need no more memory than a minute, and a broken promise is found within one. A round's seed is
printed and replays it as the first round; threads of the machine are not replayed.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import click
from rich.console import Console

from queued.drivers import driver_for
from queued.drivers.base import MAX_BATCH
from tests.chaos.backends import BACKENDS, available
from tests.chaos.faults import KINDS, WORKER_KILLS, Kind, kinds_for
from tests.chaos.ledger import Ledger
from tests.chaos.load import Load
from tests.chaos.oracle import Judgement, drained, judge, remains
from tests.chaos.report import Report
from tests.chaos.stage import QUEUES, Stage

ROUND = 60.0
"""Seconds of faults in a round."""
DRAINED_WITHIN = 120.0
"""Seconds from the last fault until every job must be settled: lost hosts and 8 times the load."""
ENOUGH = 5
"""Kills of workers at random, of which one must have cut a job short."""
GAP = 0.8
"""The mean of the seconds between a fault and the next."""
SAY_EVERY = 5.0

KILLS = {"worker killed": 200, "monitor killed": 20, "master killed": 20, "server killed": 20}
PLANS = {"kills": KILLS, "workers": {"worker killed": 200}, "host": {"host lost": 3}}


@dataclass(frozen=True, slots=True)
class Plan:
    """Which faults, and for how long."""

    seconds: float
    counts: dict[str, int] | None = None
    """Faults by name, in a random order, and no job that ends its worker by itself; None: any
    faults, until the time is over."""

    def faults(self, kinds: Sequence[Kind], chance: Random) -> Iterator[Kind]:
        if self.counts is None:
            while True:
                yield chance.choices(kinds, [one.weight for one in kinds])[0]
        names = [name for name, count in self.planned(kinds).items() for _ in range(count)]
        chance.shuffle(names)
        yield from (KINDS[name] for name in names)

    def planned(self, kinds: Iterable[Kind]) -> dict[str, int]:
        """Return how often each fault must have hit, of those that a back-end can suffer."""
        possible = {one.name for one in kinds} | {"host lost"}
        return {name: n for name, n in (self.counts or {}).items() if name in possible}

    def unproven(self, report: Report, kinds: Iterable[Kind]) -> list[str]:
        """Return why a soak that kept every promise proves nothing, line by line."""
        hits = {name: report.damages[name].count for name in KINDS if name in report.damages}
        planned = self.planned(kinds)
        lines = [
            f'"{name}" was planned {count} times and hit {hits.get(name, 0)} times'
            for name, count in planned.items()
            if hits.get(name, 0) < count
        ]
        if not hits:
            lines.append("no fault was injected")
        if not report.sums["acknowledged"]:
            lines.append("no job was acknowledged")
        kills = sum(hits.get(name, 0) for name in WORKER_KILLS)
        reclaimed = sum(report.damages[name].jobs for name in WORKER_KILLS if name in hits)
        if kills >= (1 if planned else ENOUGH) and not reclaimed:
            lines.append(f"no job was reclaimed, though workers were killed {kills} times")
        return [f"nothing was proven: {line}" for line in lines]


class Soak:
    """The rounds over one back-end."""

    def __init__(
        self, stage: Stage, plan: Plan, say: Callable[[str], None], *, keep: bool = False
    ) -> None:
        self.report = Report()
        self.rounds = 0
        self._stage = stage
        self._plan = plan
        self._say = say
        self._keep = keep
        self._began = 0.0

    async def run(self, seed: int) -> Judgement:
        """Go round by round until the time is over, or a promise was broken; judge the last.

        A soak that has hit nothing breaks a promise too: that it proves something.
        """
        await self._stage.start()
        self._began = time.monotonic()  # not before: on a loaded machine a start takes long
        kinds = kinds_for(self._stage)
        faults = self._plan.faults(kinds, Random(seed))
        while True:
            self.rounds += 1
            judgement, more = await self._round(seed, faults, kinds)
            if judgement.broken:
                return judgement
            if not more:
                judgement.broken += self._plan.unproven(self.report, kinds)
                return judgement
            seed = Random(seed).getrandbits(32)
            if self._plan.counts is None:
                faults = self._plan.faults(kinds, Random(seed))

    async def _round(
        self, seed: int, faults: Iterator[Kind], kinds: Sequence[Kind]
    ) -> tuple[Judgement, bool]:
        """Return what the oracle says, and whether another round follows."""
        self._say(f"round {self.rounds}, seed {seed}")
        stage, stop = self._stage, asyncio.Event()
        folder = stage.folder / f"round-{self.rounds}"
        ledger = stage.open_ledger(folder)
        chance = Random(f"{seed} faults")
        deadly = self._plan.counts is None
        load = Load(stage.backend.url, ledger, Random(f"{seed} load"), stop, deadly=deadly)
        producing = asyncio.create_task(load.run())
        saying = asyncio.create_task(self._progress(load, ledger))
        try:
            more = await self._inject(faults, chance)
            stop.set()
            await producing
            judgement = await self._judge(ledger)
        finally:
            stop.set()
            saying.cancel()
            await asyncio.wait({producing, saying})
            ledger.close()
        if not judgement.broken and not self._keep:
            shutil.rmtree(folder)
        return judgement, more

    async def _inject(self, faults: Iterator[Kind], chance: Random) -> bool:
        """Break things until the round is over; return whether there is more to break."""
        began = time.monotonic()
        left = self._plan.seconds - (began - self._began)
        for kind in faults:
            await asyncio.sleep(min(chance.expovariate(1 / GAP), 3 * GAP))
            if self._plan.counts is None and time.monotonic() > began + min(left, ROUND):
                return left > ROUND
            await kind.inject(self._stage, chance, kind.name)
            if self._plan.counts is not None and time.monotonic() > began + ROUND:
                return True
        return False

    async def _judge(self, ledger: Ledger) -> Judgement:
        driver = driver_for(self._stage.backend.url)
        await driver.open()
        try:
            await drained(driver, QUEUES, DRAINED_WITHIN)
            left = await remains(driver, QUEUES, ledger)
            judgement = await asyncio.to_thread(judge, ledger, left)
            self.report.add(ledger, judgement)
            for queue in QUEUES:
                ids = [id_ for id_, job in left.failed.items() if job.queue == queue]
                for start in range(0, len(ids), MAX_BATCH):
                    await driver.forget(queue, ids[start : start + MAX_BATCH])
        finally:
            await driver.close()
        return judgement

    async def _progress(self, load: Load, ledger: Ledger) -> None:
        while True:
            await asyncio.sleep(SAY_EVERY)
            faults = len(await asyncio.to_thread(ledger.faults))
            self._say(
                f"round {self.rounds}: {load.acknowledged:,} acknowledged, {load.doubted} in doubt,"
                f" {faults} faults"
            )


# the command


@contextmanager
def _stage(name: str, folder: Path) -> Iterator[Stage]:
    place = folder / name
    (place / "backend").mkdir(parents=True)
    with BACKENDS[name](place / "backend") as backend:
        stage = Stage(place, backend)
        try:
            yield stage
        finally:
            stage.close()


def soak(
    name: str,
    plan: Plan,
    seed: int,
    folder: Path,
    say: Callable[[str], None] = print,
    *,
    keep: bool = False,
) -> tuple[Judgement, Report]:
    """Soak one back-end in a folder of its own, which is left for looking."""
    with _stage(name, folder) as stage:
        began = time.monotonic()

        def tell(text: str) -> None:
            say(f"{name} {time.monotonic() - began:4.0f} s {text}")

        one = Soak(stage, plan, tell, keep=keep)
        judgement = asyncio.run(one.run(seed))
    return judgement, one.report


@click.command()
@click.option("--seconds", default=60.0, show_default=True, help="How long, shared by back-ends.")
@click.option("--seed", type=int, help="Of the first round; at random if not given.")
@click.option(
    "--backend",
    "names",
    multiple=True,
    default=["all"],
    show_default=True,
    type=click.Choice(["all", *BACKENDS]),
    help="May be repeated.",
)
@click.option("--plan", "plan_name", type=click.Choice(list(PLANS)), help="Faults by number.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the report here.")
@click.option("--keep", is_flag=True, help="Keep the folder even if all is well.")
def main(
    *,
    seconds: float,
    seed: int | None,
    names: Sequence[str],
    plan_name: str | None,
    json_path: Path | None,
    keep: bool,
) -> None:
    """Break a daemon at random under random load; exit with 1 when a promise was broken."""
    console = Console(highlight=False, soft_wrap=True, width=140)
    chosen = available() if "all" in names else list(names)
    seed = secrets.randbits(32) if seed is None else seed
    plan = Plan(seconds / len(chosen), PLANS[plan_name] if plan_name else None)
    folder = Path(tempfile.mkdtemp(prefix="queued-chaos-"))
    console.print(f"seed {seed}, {', '.join(chosen)}, in {folder}, load {os.getloadavg()[0]:.1f}")
    told: dict[str, Any] = {"seed": seed, "load": os.getloadavg()[0], "backends": {}}
    broken = False
    for name in chosen:
        judgement, report = soak(name, plan, seed, folder, console.print, keep=keep)
        console.rule(name)
        report.print(console)
        for line in judgement.broken:
            console.print(f"BROKEN {line}", markup=False)
        told["backends"][name] = report.to_json() | {"broken": judgement.broken}
        broken = broken or bool(judgement.broken)
    if json_path is not None:
        json_path.write_text(json.dumps(told, indent=2) + "\n")
    if broken:
        console.print(f"promises were broken: seed {seed}, look into {folder}")
    elif not keep:
        shutil.rmtree(folder)
    sys.exit(broken)


if __name__ == "__main__":
    main()
