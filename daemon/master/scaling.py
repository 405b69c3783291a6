"""How many workers a pool should have: a decision out of what is seen and what was done before.

Up when the oldest job has waited for most of ``max_wait``, or when the backlog at its present pace
would take longer than that; at most twice as many at a time. Down by one when for a whole cool-down
nothing waited and the others would have had room for all that ran. A step up soon after one down
doubles the cool-down: a load that comes and goes is met by patience, not by steps.

Pure: time comes in as a value, and what is remembered goes out as one.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace

from queued.units import format_latency, format_rate

DEFAULT_TARGET = 10.0
"""Seconds that stand in for ``max_wait`` where a queue has none."""
NEAR = 0.8
"""The share of the target at which the oldest job's wait makes the pool grow."""
CALM = 0.25
"""The share of the target below which a wait counts as none."""
FULL = 0.6
"""The share of slots in use below which more workers would not help: something else holds jobs."""
ROOM = 0.75
"""The share of their slots that those who stay may need at the most."""
GROWING = 3.0
"""Seconds between two steps up: the last one must be seen to act first."""
WINDOW = 5.0
"""Seconds over which pace and use are measured."""
SOON = 4
"""Cool-downs from a step down within which one up says that it was a mistake."""
LONGEST_COOLDOWN = 900.0
FOREVER_AGO = -math.inf


@dataclass(frozen=True, slots=True)
class Bounds:
    """Between what a pool is scaled, and for how many seconds it must be calm to shrink."""

    min: int
    max: int
    cooldown: float = 30.0

    def clamp(self, number: int) -> int:
        return max(self.min, min(self.max, number))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """A pool and its queue at one moment."""

    at: float
    """Seconds of a monotonic clock."""
    ready: int
    age: float
    """Seconds that the oldest ready job has waited."""
    pace: float | None
    """Jobs that leave the queue in a second, over all hosts; None: not known yet."""
    busy: float
    """Slots of this pool in use, on the average of the last seconds."""
    peak: int
    """The most slots in use in that time."""
    slots: int
    """Those of all workers that it should have, whether they are up yet or not."""
    concurrency: int
    """Slots of one worker."""

    @property
    def full(self) -> bool:
        return self.busy >= FULL * self.slots

    @property
    def outlook(self) -> float | None:
        """Seconds that the last of the ready jobs will have waited; None: nobody can tell."""
        return self.ready / self.pace if self.pace else None


@dataclass(frozen=True, slots=True)
class Memory:
    """What is kept from one decision to the next; moments are seconds of a monotonic clock."""

    up_at: float = FOREVER_AGO
    down_at: float = FOREVER_AGO
    calm_since: float | None = None
    pressed_since: float | None = None
    """Since when jobs wait while the pool is full."""
    cooldown: float = 0.0
    """Seconds; less than that of the bounds counts as theirs."""


@dataclass(frozen=True, slots=True)
class Step:
    to: int
    why: str
    """A sentence for people."""


def decide(
    bounds: Bounds, target: float, desired: int, sight: Sight, memory: Memory
) -> tuple[Memory, Step | None]:
    """Return what is to be remembered, and the step to take now; None: none.

    :param target: seconds: ``max_wait``.
    :param desired: how many workers the pool should have at present, within the bounds.
    """
    now, since = sight.at, None
    if sight.ready > 0 and sight.full:
        since = now if memory.pressed_since is None else memory.pressed_since
    memory = replace(memory, pressed_since=since)
    measured = since is not None and now - since >= WINDOW
    why = _lateness(target, desired, sight, measured=measured)
    if why:
        memory = replace(memory, calm_since=None)
        if desired >= bounds.max or not sight.full or now - memory.up_at < GROWING:
            return memory, None
        return _up(bounds, bounds.clamp(_enough(target, desired, sight)), memory, now, why)
    if desired <= bounds.min or not _is_calm(target, desired, sight):
        return replace(memory, calm_since=None), None
    return _down(bounds, desired, memory, now)


def _lateness(target: float, desired: int, sight: Sight, *, measured: bool) -> str:
    """Say why jobs wait, or will wait, for too long; nothing: they do not.

    :param measured: whether the pace is that of a pool with as much to do as it can.
    """
    if not sight.ready:
        return ""
    if not desired:
        return "jobs wait and there is no worker"
    if sight.age >= NEAR * target:
        return f"the oldest job has waited {format_latency(sight.age)}"
    outlook = sight.outlook
    if measured and outlook is not None and outlook >= target:
        pace = format_rate(sight.pace or 0.0)
        return f"{sight.ready} jobs at {pace}/s will wait {format_latency(outlook)}"
    return ""


def _enough(target: float, desired: int, sight: Sight) -> int:
    """Return how many workers the backlog asks for: more than there are, at most twice as many."""
    outlook = sight.outlook
    needed = 2 * desired if outlook is None else math.ceil(desired * outlook / target)
    return max(desired + 1, min(needed, 2 * desired))


def _up(bounds: Bounds, to: int, memory: Memory, now: float, why: str) -> tuple[Memory, Step]:
    cooldown = max(memory.cooldown, bounds.cooldown)
    if now - memory.down_at < SOON * cooldown:  # that step down was a mistake
        cooldown = max(bounds.cooldown, min(2 * cooldown, LONGEST_COOLDOWN))
    else:
        cooldown = bounds.cooldown
    return replace(memory, up_at=now, cooldown=cooldown), Step(to, why)


def _is_calm(target: float, desired: int, sight: Sight) -> bool:
    room = ROOM * (desired - 1) * sight.concurrency
    waits = sight.ready > 0 and sight.age >= CALM * target
    return not waits and sight.peak <= room and (desired > 1 or not sight.ready)


def _down(bounds: Bounds, desired: int, memory: Memory, now: float) -> tuple[Memory, Step | None]:
    if memory.calm_since is None:
        memory = replace(memory, calm_since=now)
    cooldown = max(memory.cooldown, bounds.cooldown)
    since = max(memory.calm_since or now, memory.up_at, memory.down_at)
    if now - since < cooldown:
        return memory, None
    why = f"{desired - 1} would have been enough for {format_latency(now - since)}"
    return replace(memory, down_at=now), Step(desired - 1, why)


class Pace:
    """How fast jobs leave a queue, out of samples that count what came and what waits."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def note(self, at: float, enqueued: int, waiting: int) -> None:
        """Take a sample.

        :param at: seconds, by the clock of whoever sampled.
        :param enqueued: jobs that ever came.
        :param waiting: those that are ready or scheduled.
        """
        if self._samples and at <= self._samples[-1][0]:
            if at < self._samples[-1][0]:  # its clock was set back
                self._samples.clear()
            else:
                return
        self._samples.append((at, enqueued - waiting))
        while len(self._samples) > 2 and at - self._samples[1][0] >= WINDOW:  # noqa: PLR2004
            self._samples.popleft()

    @property
    def rate(self) -> float | None:
        """Jobs a second; None: not known. What comes back to be retried counts against it."""
        if len(self._samples) < 2:  # noqa: PLR2004 - a difference needs two
            return None
        (began, before), (now, after) = self._samples[0], self._samples[-1]
        return max(0.0, after - before) / (now - began)
