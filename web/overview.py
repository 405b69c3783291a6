"""What people see of a daemon, and what is not well with it: plain values.

The page at ``/`` shows them, and so do ``queued status`` and ``queued top``; the page gets them in
the monitor, the commands out of the master's answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from queued.drivers.base import Paused, QueueStats
from queued.jobs.text import nearest
from queued.units import format_duration, format_share

STALE = 10.0
"""Seconds after which values that come every second are called old."""
WELL = "the back-end answers, every pool runs, and no job waits beyond max_wait"
"""What it means that there is no problem."""
AS_PLANNED = frozenset({"max_jobs", "max_time", "max_memory", "drained", "empty"})
"""Reasons for which workers end without anybody having to look."""
MANY_FAILURES = 0.05
"""The share of runs that should not fail, where no objective says another."""
ENOUGH_RUNS = 20
"""Fewer of them say nothing of a share."""
FORGOTTEN = 86_400.0
"""Seconds after which a pause may have been forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolView:
    """A pool as its master last told of it."""

    name: str
    state: str
    running: int
    """Workers that can take jobs."""
    desired: int
    busy: int
    """Jobs that run."""
    slots: int
    """Jobs that can run at a time."""
    memory: int
    """Bytes, of all its workers."""
    exits: Mapping[str, int]
    """How often its workers ended, by reason."""
    range: tuple[int, int] | None = None
    """Between how many workers it is scaled; None: it is not."""

    @property
    def size(self) -> str:
        """Its workers: those that run, of those that should, and the range: ``2/2 (1-8)``."""
        scaled = f" ({self.range[0]}-{self.range[1]})" if self.range else ""
        return f"{self.running}/{self.desired}{scaled}"

    @property
    def short(self) -> bool:
        """Whether workers are missing."""
        return self.running < self.desired


@dataclass(frozen=True, slots=True, kw_only=True)
class Lately:
    """What a queue did in the last minutes."""

    rate: float
    """Jobs that were done or failed for good, per second, in the last minute."""
    attempts: int
    """Runs that ended in the last five minutes; the rest is about these."""
    failures: int
    """Those that neither succeeded nor were handed back."""
    failure_ratio: float | None
    """0 to 1; None: nothing ran."""
    wait_p95: float | None
    """Seconds from ready to the start of a run, for 95 of 100; None: nothing started."""
    run_p95: float | None
    """Seconds that a run took, for 95 of 100; None: nothing ended."""

    @classmethod
    def of(cls, windows: Mapping[str, Mapping[str, Any]] | None) -> Self | None:
        """Take the monitor's windows of a queue; None: it has not told of them."""
        if not windows or not {"1m", "5m"} <= windows.keys():
            return None
        minute, minutes = windows["1m"], windows["5m"]
        return cls(
            rate=minute["finished_per_second"],
            attempts=minutes["attempts"],
            failures=minutes["failures"],
            failure_ratio=minutes["failure_ratio"],
            wait_p95=minutes["wait_p95"],
            run_p95=minutes["run_p95"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueView:
    """A queue as it was last sampled."""

    name: str
    stats: QueueStats | None
    """None: not sampled yet."""
    max_wait: float | None = None
    """The objective in seconds for the oldest ready job; None: no objective."""
    max_failure_rate: float | None = None
    """The objective for the share of runs that fail, 0 to 1; None: no objective."""
    lately: Lately | None = None
    """None: not known yet."""

    @property
    def oldest(self) -> float | None:
        """How long the oldest ready job has waited, in seconds; None: none waits."""
        if self.stats is None or not self.stats.ready:
            return None
        return self.stats.oldest_ready_age_seconds

    @property
    def paused(self) -> Paused | None:
        """Since when, by whom and why; None: it is not."""
        return self.stats.paused if self.stats else None

    @property
    def late(self) -> bool:
        """Whether the oldest job has waited for longer than it should: no fault while paused."""
        if self.max_wait is None or self.paused:
            return False
        return (self.oldest or 0.0) > self.max_wait

    @property
    def failing(self) -> bool:
        """Whether more runs fail than should."""
        return self.max_failure_rate is not None and self._fails(self.max_failure_rate)

    @property
    def doubtful(self) -> bool:
        """Whether many runs fail, and nobody has said how many may."""
        return self.max_failure_rate is None and self._fails(MANY_FAILURES)

    def _fails(self, limit: float) -> bool:
        lately = self.lately
        if lately is None or lately.attempts < ENOUGH_RUNS:
            return False
        return (lately.failure_ratio or 0.0) > limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The daemon at one moment. Ages are seconds; None: that has never been seen."""

    backend: str
    """Its kind, such as ``sqlite``."""
    backend_up: bool
    backend_since: float
    """Seconds since the back-end became what ``backend_up`` says."""
    backend_error: str = ""
    """What it answered to a call that failed just now; other calls may succeed."""
    fleet_age: float | None
    """Since the master last told of its pools."""
    sample_age: float | None
    """Since the queues were sampled."""
    config_ok: bool
    """Whether the last reload of queue.yaml succeeded."""
    pools: Sequence[PoolView]
    queues: Sequence[QueueView]
    unserved: Mapping[str, int] = field(default_factory=dict)
    """How many jobs wait, by queue, where neither this daemon nor anybody else serves that."""

    @property
    def fleet_stale(self) -> bool:
        return self.fleet_age is not None and self.fleet_age > STALE

    @property
    def sample_stale(self) -> bool:
        return self.sample_age is not None and (self.sample_age > STALE or not self.backend_up)

    def pauses(self, now: float) -> Iterator[str]:
        """Yield what is paused, which nobody needs to look at but may have forgotten.

        :param now: seconds since the epoch.
        """
        for queue in self.queues:
            if paused := queue.paused:
                age = format_duration(max(0, int(now - paused.since)))
                by = f" by {paused.by}" if paused.by else ""
                why = f": {paused.reason}" if paused.reason else ""
                old = now - paused.since > FORGOTTEN
                ends = f"; is it forgotten? queued resume {queue.name}" if old else ""
                yield f"queue {queue.name}: paused for {age}{by}{why}{ends}"

    def unready(self) -> Iterator[str]:
        """Yield why jobs cannot run, a sentence each."""
        if not self.backend_up:
            away = format_duration(int(self.backend_since))
            why = f": {self.backend_error}" if self.backend_error else ""
            yield f"backend unreachable for {away}{why}"
        if self.fleet_age is None:
            yield "the master has not told of its pools yet"
        for pool in self.pools:
            if pool.desired > 0 and not pool.running:
                yield f"pool {pool.name}: no worker running ({pool.state})"

    def warnings(self) -> Iterator[str]:
        """Yield what somebody should look at though the daemon is ready, a sentence each."""
        if self.backend_up and self.backend_error:
            yield f"the back-end refuses some calls: {self.backend_error}"
        if self.fleet_stale:
            yield "the master is silent: the pools are shown as they last were"
        if self.sample_stale and self.sample_age is not None:
            yield f"the queues were last seen {format_duration(int(self.sample_age))} ago"
        for pool in self.pools:
            if pool.state in {"backoff", "fatal"} and pool.running:
                short = f"{pool.running} of {pool.desired} workers running"
                yield f"pool {pool.name}: {short} ({pool.state})"
        for queue in self.queues:
            if queue.late and queue.oldest and queue.max_wait:
                waited, objective = map(format_duration, (round(queue.oldest, 1), queue.max_wait))
                yield f"queue {queue.name}: a job has waited {waited}, max_wait is {objective}"
            if queue.failing and queue.lately:
                share, limit = map(
                    format_share, (queue.lately.failure_ratio or 0.0, queue.max_failure_rate or 0.0)
                )
                many = f"{share} of {queue.lately.attempts} runs of the last 5m failed"
                yield f"queue {queue.name}: {many}, max_failure_rate is {limit}"
        yield from self._unserved()
        if not self.config_ok:
            yield "the last reload of queue.yaml failed: the configuration before it runs"

    def _unserved(self) -> Iterator[str]:
        for name, count in self.unserved.items():
            jobs = f"{count} job waits" if count == 1 else f"{count} jobs wait"
            near = nearest(name, [pool.name for pool in self.pools])
            yield f"{name}: {jobs}, and nobody serves that queue{near} (queued why {name})"
