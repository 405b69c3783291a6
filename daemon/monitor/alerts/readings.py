"""What one look at the fleet says of each alert: bad, good, or too little is known.

Nothing is asked here: all of it was sampled, counted or told before.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum

from queued.daemon.monitor.collector import Sample
from queued.daemon.monitor.fleet import RUNNING, Fleet
from queued.daemon.monitor.recent import Rates, Recent
from queued.daemon.reach import Reach
from queued.daemon.spec import QueueSpec
from queued.units import format_duration, format_share

WINDOW = 300.0
"""Seconds over which failures and crashes are counted."""
ENOUGH_RUNS = 20
"""Runs in the window below which a failure rate begins no alert: one of three may be chance."""
CLEARLY_BELOW = 0.8
"""A failure rate is good again at this share of its limit: around the limit nothing changes."""
MANY_CRASHES, FEW_CRASHES = 5, 1
"""More crashes of a pool in the window are bad; so few or less are good."""
STALE = 10.0
"""Seconds after which what comes every second says nothing any more."""


class Alert(StrEnum):
    """What may be wrong. The names are a contract: receivers tell alerts apart by them."""

    QUEUE_LATE = "queue.late"
    QUEUE_FAILING = "queue.failing"
    POOL_FATAL = "pool.fatal"
    POOL_CRASHING = "pool.crashing"
    BACKEND_UNREACHABLE = "backend.unreachable"


class Finding(Enum):
    """What a reading means."""

    BAD = "bad"
    GOOD = "good"
    UNCLEAR = "unclear"
    """Between bad and good, or nobody knows: what was thought before stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One alert of one queue, pool or back-end, as it is now."""

    alert: Alert
    subject: str
    """The name of the queue or pool, or the back-end's kind."""
    finding: Finding
    message: str = ""
    """A sentence for people: what is bad, or that it is not."""
    value: float | None = None
    threshold: float | None = None
    """What ``value`` is compared with: seconds, or shares from 0 to 1."""


class Readings:
    """Reads everything that the configuration asks for, each time anew."""

    def __init__(
        self, queues: Mapping[str, QueueSpec], fleet: Fleet, recent: Recent, reach: Reach
    ) -> None:
        self._queues = queues
        self._fleet = fleet
        self._recent = recent
        self._reach = reach

    def take(self, sample: Sample) -> Iterator[Reading]:
        """Yield a reading of each alert there may be, those about which nothing is known, too."""
        yield self._backend()
        for queue, spec in self._queues.items():
            if spec.max_wait is not None:
                yield self._late(queue, spec.max_wait, sample)
            rates = self._recent.of(queue, WINDOW)
            if spec.max_failure_rate is not None:
                yield _failing(queue, spec.max_failure_rate, rates)
            yield from self._pool(queue, rates)

    def _backend(self) -> Reading:
        driver, up = self._reach.driver, self._reach.up
        away = self._reach.since
        since = format_duration(round(away))
        return Reading(
            alert=Alert.BACKEND_UNREACHABLE,
            subject=driver,
            finding=Finding.GOOD if up else Finding.BAD,
            message=f"the back-end ({driver}) "
            + ("answers" if up else f"has not answered for {since}"),
            value=None if up else round(away, 1),
        )

    def _late(self, queue: str, max_wait: float, sample: Sample) -> Reading:
        stats = sample.queues.get(queue)
        unknown = stats is None or not self._reach.up or time.time() - sample.at > STALE
        if unknown or stats is None or stats.paused:  # it waits because somebody wants it to
            return Reading(alert=Alert.QUEUE_LATE, subject=queue, finding=Finding.UNCLEAR)
        oldest = stats.oldest_ready_age_seconds if stats.ready else 0.0
        limit = format_duration(max_wait)
        late = oldest > max_wait
        waited = f"the oldest job has waited {format_duration(round(oldest, 1))}"
        return Reading(
            alert=Alert.QUEUE_LATE,
            subject=queue,
            finding=Finding.BAD if late else Finding.GOOD,
            message=f"queue {queue}: "
            + (f"{waited}, max_wait is {limit}" if late else f"no job waits longer than {limit}"),
            value=round(oldest, 3),
            threshold=max_wait,
        )

    def _pool(self, name: str, rates: Rates | None) -> Iterator[Reading]:
        pool = self._fleet.pools.get(name)
        if pool is None or time.monotonic() - self._fleet.heard_at > STALE:
            for alert in (Alert.POOL_FATAL, Alert.POOL_CRASHING):
                yield Reading(alert=alert, subject=name, finding=Finding.UNCLEAR)
            return
        running = sum(pool["workers"].get(state, 0) for state in RUNNING)
        run = f"{running} of {pool['desired']} workers run"
        fatal = pool["state"] == "fatal"
        finding = Finding.GOOD if pool["state"] in {"running", "stopped"} else Finding.UNCLEAR
        yield Reading(
            alert=Alert.POOL_FATAL,
            subject=name,
            finding=Finding.BAD if fatal else finding,
            message=f"pool {name}: "
            + (f"a worker crashed too often and is given up; {run}" if fatal else run),
        )
        yield _crashing(name, rates, fatal=fatal)


def _failing(queue: str, limit: float, rates: Rates | None) -> Reading:
    alert = Alert.QUEUE_FAILING
    if rates is None:
        return Reading(alert=alert, subject=queue, finding=Finding.UNCLEAR)
    span = format_duration(round(rates.seconds))
    if rates.failure_ratio is None:
        message = f"queue {queue}: nothing ran in the last {span}"
        return Reading(alert=alert, subject=queue, finding=Finding.GOOD, message=message)
    ratio = rates.failure_ratio
    finding = Finding.UNCLEAR
    if ratio > limit and rates.attempts >= ENOUGH_RUNS:
        finding = Finding.BAD
    elif ratio <= CLEARLY_BELOW * limit:
        finding = Finding.GOOD
    share = format_share(ratio)
    return Reading(
        alert=alert,
        subject=queue,
        finding=finding,
        message=f"queue {queue}: {share} of {rates.attempts} runs of the last {span} failed, "
        f"max_failure_rate is {format_share(limit)}",
        value=round(ratio, 4),
        threshold=limit,
    )


def _crashing(pool: str, rates: Rates | None, *, fatal: bool) -> Reading:
    alert = Alert.POOL_CRASHING
    if rates is None or fatal:  # that it was given up says more
        return Reading(alert=alert, subject=pool, finding=Finding.UNCLEAR)
    finding = Finding.UNCLEAR
    if rates.crashes > MANY_CRASHES:
        finding = Finding.BAD
    elif rates.crashes <= FEW_CRASHES:
        finding = Finding.GOOD
    span = format_duration(round(rates.seconds))
    times = f"{rates.crashes} time{'s' * (rates.crashes != 1)}"
    return Reading(
        alert=alert,
        subject=pool,
        finding=finding,
        message=f"pool {pool}: workers crashed {times} in the last {span}",
        value=rates.crashes,
        threshold=MANY_CRASHES,
    )
