"""The oracle: was anything lost, did anything run again without a reason, is all of it settled?

acknowledged is done, failed or pending       nothing is lost
what ran was acknowledged or doubted          nothing comes out of nowhere
a second run follows an error of its own,     duplicates ≤ jobs begun and not settled
  or a fault that found the first unsettled     at the faults, and it is those
what succeeds is done, what raises failed     no fault is charged to a job that it only met
nothing is pending                            drained
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from queued.drivers import driver_for
from queued.drivers.base import MAX_BATCH, Driver, FailedJob, State
from queued.errors import DriverUnavailable
from tests.chaos.ledger import Fault, Ledger, Run
from tests.chaos.work import ENDS_DONE, ENDS_FAILED

SHOWN = 20
"""Broken promises that are shown of each kind."""
CONVICTED_AFTER = 3
"""Crashes that may fail a job whose own code is well."""


@dataclass(frozen=True, slots=True)
class Remains:
    """What the back-end still has: its failed jobs, and where the jobs are that nobody finished."""

    failed: Mapping[str, FailedJob]
    pending: Mapping[str, State]
    waiting: Mapping[str, int]
    """Jobs that are ready, scheduled or reserved, by queue."""


@dataclass(slots=True)
class Judgement:
    """What the oracle found. ``broken`` is empty if every promise was kept."""

    broken: list[str] = field(default_factory=list)
    jobs: Counter[str] = field(default_factory=Counter)
    """Acknowledged jobs by kind."""
    done: int = 0
    failed: int = 0
    runs: int = 0
    duplicates: int = 0
    """Runs that followed no error of their own job."""
    unsettled: int = 0
    """Runs begun and not settled at the faults: what ``duplicates`` may amount to."""
    doubted: int = 0

    def breaks(self, promise: str, cases: Iterable[str]) -> None:
        cases = sorted(cases)
        self.broken += [f"{promise}: {case}" for case in cases[:SHOWN]]
        if len(cases) > SHOWN:
            self.broken.append(f"{promise}: and {len(cases) - SHOWN} more")


def judge(ledger: Ledger, remains: Remains) -> Judgement:
    """Compare the ledger with what the back-end still has."""
    acknowledged, doubted = ledger.acknowledged(), ledger.doubted()
    runs, faults = ledger.runs(), ledger.faults()
    done = {id_ for id_, those in runs.items() if any(run.done for run in those)}
    found = Judgement(jobs=Counter(acknowledged.values()), doubted=len(doubted))
    found.done = len(done)
    found.failed = len(remains.failed.keys() & (acknowledged.keys() | doubted.keys()))
    found.runs = sum(len(those) for those in runs.values())
    lost = acknowledged.keys() - done - remains.failed.keys() - remains.pending.keys()
    found.breaks("lost", (_story(id_, runs.get(id_, ())) for id_ in lost))
    nowhere = runs.keys() - acknowledged.keys() - doubted.keys()
    found.breaks("ran, though never enqueued", (_story(id_, runs[id_]) for id_ in nowhere))
    found.breaks("not drained", (f"{n} in {queue}" for queue, n in remains.waiting.items() if n))
    found.breaks("not drained", (f"{id_} is {state}" for id_, state in remains.pending.items()))
    _judge_repeats(found, runs, faults)
    _judge_ends(found, acknowledged | doubted, runs, faults, remains)
    hookless = {
        id_
        for id_, job in remains.failed.items()
        if acknowledged.get(id_) == "fails" and not job.hook_pending
    }
    found.breaks("failed() was not called", hookless - ledger.hooks())
    return found


def _judge_repeats(
    found: Judgement, runs: Mapping[str, Sequence[Run]], faults: Sequence[Fault]
) -> None:
    """Hold each second run against an error of the first, or a fault that it fell victim to."""
    groundless = []
    for id_, those in runs.items():
        for first, second in pairwise(those):
            if first.raised and second.attempt != first.attempt:
                continue  # a retry; under the same number it was never settled
            found.duplicates += 1
            if not any(fault.hits(first, faults) for fault in faults):
                again = f"again {second.began - first.began:.3f} s later, and no fault hit it"
                groundless.append(f"{_story(id_, those)}: {again}")
    found.breaks("ran again", groundless)
    found.unsettled = count_unsettled(runs, faults)


def count_unsettled(runs: Mapping[str, Sequence[Run]], faults: Sequence[Fault]) -> int:
    """Count, over all faults, the runs that were begun and perhaps not settled."""
    flat = sorted((run for those in runs.values() for run in those), key=lambda run: run.began)
    total = 0
    for fault in faults:
        for run in flat:
            if run.began > fault.ended:
                break
            total += fault.hits(run, faults)
    return total


def _judge_ends(
    found: Judgement,
    kinds: Mapping[str, str],
    runs: Mapping[str, Sequence[Run]],
    faults: Sequence[Fault],
    remains: Remains,
) -> None:
    risen, felled = [], []
    for id_, kind in kinds.items():
        those = runs.get(id_, ())
        if kind in ENDS_FAILED and any(run.done for run in those):
            risen.append(_story(id_, those))
        if kind in ENDS_DONE and id_ in remains.failed:
            hits = sum(any(fault.hits(run, faults) for fault in faults) for run in those)
            if hits < CONVICTED_AFTER:
                record = remains.failed[id_].record.decode(errors="replace")
                felled.append(f"{_story(id_, those)}: {record}")
    found.breaks("succeeded, though it never can", risen)
    found.breaks("failed without fault", felled)


def _story(id_: str, runs: Sequence[Run]) -> str:
    """Tell a job's life in a line."""
    told = [
        f"run {run.attempt} in {run.pid} at {run.began:.3f} ({', '.join(run.words) or 'no end'})"
        for run in runs
    ]
    return f"{id_} [{'; '.join(told) or 'never ran'}]"


# what the back-end still has


async def drained(driver: Driver, queues: Sequence[str], within: float) -> bool:
    """Wait until nothing is ready, scheduled or reserved; False: it still is after ``within``."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            if not any((await waiting(driver, queues)).values()):
                return True
        except DriverUnavailable:
            pass
        await asyncio.sleep(0.1)
    return False


async def waiting(driver: Driver, queues: Sequence[str]) -> dict[str, int]:
    stats = await driver.stats(queues)
    return {queue: one.ready + one.scheduled + one.reserved for queue, one in stats.items()}


async def remains(driver: Driver, queues: Sequence[str], ledger: Ledger) -> Remains:
    """Ask the back-end for all that the ledger does not know to be done."""
    failed = {}
    for queue in queues:
        failed |= {job.id: job for job in await _failed(driver, queue)}
    done = {id_ for id_, runs in ledger.runs().items() if any(run.done for run in runs)}
    pending = {}
    for id_ in (ledger.acknowledged() | ledger.doubted()).keys() - done - failed.keys():
        info = await driver.find(id_)
        if info is not None:
            pending[id_] = info.state
    return Remains(failed, pending, await waiting(driver, queues))


async def _failed(driver: Driver, queue: str) -> list[FailedJob]:
    found: list[FailedJob] = []
    while page := await driver.failed(queue, limit=MAX_BATCH, offset=len(found)):
        found += page
    return found


async def verdict(url: str, queues: Sequence[str], ledger: Ledger, within: float) -> Judgement:
    """Wait until the queues are drained, at most ``within`` seconds, then judge."""
    driver = driver_for(url)
    await driver.open()
    try:
        await drained(driver, queues, within)
        return judge(ledger, await remains(driver, queues, ledger))
    finally:
        await driver.close()
