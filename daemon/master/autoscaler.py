"""Sees to it that pools with ``processes: {min, max}`` follow the wait of their queues.

The master asks no back-end: it goes by the samples that the monitor sends. Without fresh ones, or
while anything else explains why jobs wait, pools stay as they are.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import structlog

from queued.daemon.channel import Frame
from queued.daemon.master.pool import Pool
from queued.daemon.master.scaling import DEFAULT_TARGET, WINDOW, Memory, Pace, Sight, decide
from queued.daemon.master.workforce import Workforce
from queued.daemon.spec import NO_OBJECTIVES, WorkerSpec

log = structlog.get_logger()

LOOK_EVERY = 0.25
FRESH = 5.0
"""Seconds; an older sample says nothing of now. The monitor takes one a second."""
UNFIT = frozenset({"backoff", "fatal"})
"""States of a pool that more workers would not mend."""


class _Watched:
    """What is remembered of one pool."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.pace = Pace()
        self._use: deque[tuple[float, int]] = deque()
        self._held_at = -math.inf
        """When a pause or a rate limit last held jobs back."""

    def look(self, pool: Pool, now: float) -> None:
        busy = sum(child.board.busy for child in pool.running if child.board is not None)
        self._use.append((now, busy))
        while now - self._use[0][0] > WINDOW:
            self._use.popleft()

    def sight(self, pool: Pool, stats: Mapping[str, Any], now: float) -> Sight:
        """Return the pool and its queue as they are; jobs that are held back count as none."""
        assert isinstance(pool.blueprint, WorkerSpec)
        concurrency, limit = pool.blueprint.concurrency, pool.blueprint.rate_limit
        use = [busy for _, busy in self._use]
        if stats.get("paused") or (limit and stats.get("limited_seconds")):
            self._held_at = now
        ready = stats["ready"] if now - self._held_at > WINDOW else 0
        return Sight(
            at=now,
            ready=ready,
            age=stats["oldest_ready_age_seconds"] if ready else 0.0,
            pace=self.pace.rate,
            busy=sum(use) / len(use),
            peak=max(use),
            slots=pool.desired * concurrency,
            concurrency=concurrency,
        )


class Autoscaler:
    """``tick`` is called in every turn of the master's loop."""

    def __init__(self, workforce: Workforce) -> None:
        self._workforce = workforce
        self._watched: dict[str, _Watched] = {}
        self._look_at = 0.0
        self._sampled_at = -math.inf
        """When the last sample came, on the monotonic clock."""
        self._sample: Frame = {}

    def tick(self, now: float, *, hold: bool = False) -> None:
        """Look, and once for each sample decide.

        :param hold: change nothing: the daemon stops, or takes in a change.
        """
        if now < self._look_at:
            return
        self._look_at = now + LOOK_EVERY
        pools = {
            name: pool
            for name, pool in self._workforce.pools.items()
            if pool.bounds is not None and not pool.closing
        }
        self._watched = {name: self._watched.get(name) or _Watched() for name in pools}
        for name, watched in self._watched.items():
            watched.look(pools[name], now)
        if self._workforce.sample is self._sample:
            return
        self._sample = self._workforce.sample
        if not self._sample.get("driver_up"):
            return
        for pool in pools.values():
            self._consider(pool, now, hold=hold or self._is_stale(now))
        self._sampled_at = now

    def _is_stale(self, now: float) -> bool:
        """Tell whether samples have just begun to come (again): what they count is not known."""
        return now - self._sampled_at > FRESH

    def _consider(self, pool: Pool, now: float, *, hold: bool) -> None:
        watched, stats = self._watched[pool.name], self._sample["queues"].get(pool.name)
        if stats is None or pool.bounds is None:
            return
        waiting = stats["ready"] + stats["scheduled"]
        watched.pace.note(self._sample["at"], stats["enqueued_total"], waiting)
        if hold or pool.by_hand or self._workforce.quiet or pool.state in UNFIT:
            watched.memory = replace(watched.memory, calm_since=None, pressed_since=None)
            return
        sight = watched.sight(pool, stats, now)
        objectives = self._workforce.plan.monitor.queues.get(pool.name, NO_OBJECTIVES)
        target = objectives.max_wait or DEFAULT_TARGET
        watched.memory, step = decide(pool.bounds, target, pool.desired, sight, watched.memory)
        if step is None:
            return
        fields = {"from": pool.desired, "to": step.to, "why": step.why}
        log.info("pool.scaled", pool=pool.name, **fields, age=round(sight.age, 1), max_wait=target)
        pool.desired = step.to
        self._workforce.allow_descriptors()
