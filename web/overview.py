"""What the page at ``/`` shows: plain values, handed over by whoever serves it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from queued.drivers.base import QueueStats
from queued.units import format_duration

STALE = 10.0
"""Seconds after which values that come every second are called old."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueView:
    """A queue as it was last sampled."""

    name: str
    stats: QueueStats | None
    """None: not sampled yet."""
    max_wait: float | None = None
    """The objective in seconds for the oldest ready job; None: no objective."""

    @property
    def oldest(self) -> float | None:
        """How long the oldest ready job has waited, in seconds; None: none waits."""
        if self.stats is None or not self.stats.ready:
            return None
        return self.stats.oldest_ready_age_seconds

    @property
    def late(self) -> bool:
        """Whether the oldest job has waited for longer than it should."""
        return self.max_wait is not None and (self.oldest or 0.0) > self.max_wait


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The daemon at one moment. Ages are seconds; None: that has never been seen."""

    backend: str
    """Its kind, such as ``sqlite``."""
    backend_up: bool
    backend_since: float
    """Seconds since the back-end became what ``backend_up`` says."""
    fleet_age: float | None
    """Since the master last told of its pools."""
    sample_age: float | None
    """Since the queues were sampled."""
    config_ok: bool
    """Whether the last reload of queue.yaml succeeded."""
    pools: Sequence[PoolView]
    queues: Sequence[QueueView]

    @property
    def fleet_stale(self) -> bool:
        return self.fleet_age is not None and self.fleet_age > STALE

    @property
    def sample_stale(self) -> bool:
        return self.sample_age is not None and (self.sample_age > STALE or not self.backend_up)

    def warnings(self) -> Iterator[str]:
        """Yield what somebody should look at though the daemon is ready, a sentence each."""
        if self.fleet_stale:
            yield "the master is silent: the pools are shown as they last were"
        if self.sample_stale:
            yield "the queues are shown as they last were"
        for pool in self.pools:
            if pool.state in {"backoff", "fatal"} and pool.running:
                short = f"{pool.running} of {pool.desired} workers running"
                yield f"pool {pool.name}: {short} ({pool.state})"
        for queue in self.queues:
            if queue.late and queue.oldest and queue.max_wait:
                waited, objective = map(format_duration, (round(queue.oldest, 1), queue.max_wait))
                yield f"queue {queue.name}: a job has waited {waited}, max_wait is {objective}"
        if not self.config_ok:
            yield "the last reload of queue.yaml failed: the configuration before it runs"
