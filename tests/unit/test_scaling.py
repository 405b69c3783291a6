"""When a pool grows and shrinks, over simulated time."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from queued.daemon.master.scaling import (
    GROWING,
    Bounds,
    Memory,
    Pace,
    Sight,
    Step,
    decide,
)

BOUNDS = Bounds(1, 8, cooldown=30)
TARGET = 10.0
SLOTS = 4
"""Of one worker."""


def sight(desired: int, *, ready=0, age=0.0, pace=None, busy: float | None = None) -> Sight:
    busy = desired * SLOTS if busy is None else busy
    return Sight(
        at=0.0,
        ready=ready, age=age, pace=pace, busy=busy, peak=round(busy),
        slots=desired * SLOTS, concurrency=SLOTS,
    )  # fmt: skip


def look(
    desired: int, seen: Sight, memory: Memory, now: float, bounds: Bounds = BOUNDS
) -> tuple[Memory, Step | None]:
    return decide(bounds, TARGET, desired, replace(seen, at=now), memory)


def step(desired: int, seen: Sight, memory: Memory = Memory(), now: float = 1000.0) -> Step | None:  # noqa: B008 - it is frozen
    return look(desired, seen, memory, now)[1]


def test_it_grows_when_the_oldest_job_nears_the_objective():
    assert step(2, sight(2, ready=3, age=7.9)) is None
    grown = step(2, sight(2, ready=3, age=8.0))
    assert grown is not None
    assert (grown.to, grown.why) == (4, "the oldest job has waited 8s")


def test_it_grows_before_anything_is_late_when_the_backlog_will_take_too_long():
    seen = sight(2, ready=600, age=1.0, pace=20.0)
    memory, grown = look(2, seen, Memory(), 1000.0)
    assert grown is None, "one look is no measurement"
    _, grown = look(2, seen, memory, 1005.0)
    assert grown is not None
    assert (grown.to, grown.why) == (4, "600 jobs at 20.0/s will wait 30s")


def test_it_takes_no_more_than_the_backlog_asks_for():
    memory = Memory(pressed_since=0.0)
    grown = step(4, sight(4, ready=120, age=1.0, pace=10.0), memory)
    assert grown is not None
    assert grown.to == 5


def test_workers_that_are_not_full_would_not_be_helped():
    """A rate limit, a lock, a pause: jobs wait, and it is not for a lack of workers."""
    assert step(2, sight(2, ready=100, age=60.0, busy=1)) is None


def test_the_first_worker_comes_with_the_first_job():
    _, grown = look(0, sight(0, ready=1), Memory(), 1000.0, Bounds(0, 2))
    assert grown is not None
    assert (grown.to, grown.why) == (1, "jobs wait and there is no worker")


def test_a_step_up_must_be_seen_to_act_before_the_next():
    memory = Memory(up_at=1000.0 - GROWING + 0.5)
    assert step(2, sight(2, ready=9, age=20.0), memory) is None
    assert step(2, sight(2, ready=9, age=20.0), memory, now=1000.5) is not None


def calm_for(seconds: float, desired: int, seen: Sight) -> Step | None:
    memory, last = Memory(), None
    for now in range(int(seconds) + 1):
        memory, last = look(desired, seen, memory, 1000.0 + now)
        if last:
            return last
    return last


def test_it_shrinks_by_one_after_a_calm_cool_down():
    assert calm_for(29, 4, sight(4, busy=0)) is None
    shrunk = calm_for(30, 4, sight(4, busy=0))
    assert shrunk is not None
    assert (shrunk.to, shrunk.why) == (3, "3 would have been enough for 30s")


@pytest.mark.parametrize(
    ("desired", "seen"),
    [
        (4, sight(4, busy=10)),  # the three that stay would be too full
        (4, sight(4, busy=2, ready=2, age=3.0)),  # something waits
        (1, sight(1, busy=0)),  # the least
    ],
)
def test_it_stays(desired, seen):
    assert calm_for(300, desired, seen) is None


def test_a_break_in_the_calm_begins_it_anew():
    memory = Memory()
    for now in range(1000, 1025):
        memory, _ = look(2, sight(2, busy=0), memory, now)
    memory, _ = look(2, sight(2, busy=8), memory, 1025.0)
    assert memory.calm_since is None


class Pool:
    """A pool and its queue, a second at a time: work comes in, and each slot does its share."""

    def __init__(self, bounds: Bounds, seconds: float) -> None:
        self.bounds = bounds
        self.desired = bounds.min
        self.steps: list[tuple[float, int, int]] = []
        self.longest = 0.0
        self._seconds = seconds
        """That a job takes."""
        self._memory = Memory()
        self._pace = Pace()
        self._waiting: deque[float] = deque()
        self._running: list[float] = []
        """When each is done."""
        self._enqueued = 0
        self._owed = 0.0
        self._use: deque[int] = deque(maxlen=5)
        self.now = 0.0

    def second(self, rate: float) -> None:
        self.now += 1
        self._owed += rate
        while self._owed >= 1:
            self._waiting.append(self.now)
            self._enqueued += 1
            self._owed -= 1
        slots = self.desired * SLOTS
        per_second = max(1, round(1 / self._seconds))  # runs that fit into one turn of a slot
        self._running = [end for end in self._running if end > self.now]
        used = len(self._running)
        for _ in range(max(0, slots - used) * per_second):
            if not self._waiting:
                break
            self._waiting.popleft()
            used += 1
            if self._seconds > 1:
                self._running.append(self.now + self._seconds)
        self._use.append(min(slots, used if self._seconds > 1 else -(-used // per_second)))
        age = self.now - self._waiting[0] if self._waiting else 0.0
        self.longest = max(self.longest, age)
        self._pace.note(self.now, self._enqueued, len(self._waiting))
        seen = Sight(
            at=self.now,
            ready=len(self._waiting), age=age, pace=self._pace.rate,
            busy=sum(self._use) / len(self._use), peak=max(self._use), slots=slots,
            concurrency=SLOTS,
        )  # fmt: skip
        self._memory, taken = decide(self.bounds, TARGET, self.desired, seen, self._memory)
        if taken:
            self.steps.append((self.now, self.desired, taken.to))
            self.desired = taken.to


loads = st.floats(0.0, 40.0)
bounds = st.builds(
    lambda least, more, cooldown: Bounds(least, max(1, least + more), cooldown),
    st.integers(0, 4), st.integers(0, 8), st.sampled_from([1.0, 5.0, 30.0]),
)  # fmt: skip


lengths = st.sampled_from([0.1, 1.0, 5.0])
phases = st.lists(st.tuples(loads, st.integers(1, 90)), max_size=12)


@settings(max_examples=50)
@given(bounds, lengths, phases)
def test_never_outside_of_its_range_and_never_hasty(bounds, seconds, phases):
    """Whatever the load does: in the range, up by doubling at most, down by one, in good time."""
    pool = Pool(bounds, seconds)
    for rate, lasts in phases:
        for _ in range(lasts):
            pool.second(rate)
    for _, before, after in pool.steps:
        assert bounds.min <= after <= bounds.max
        assert after == before - 1 or before < after <= max(1, 2 * before)
    for (earlier, *_), (later, before, after) in pairwise(pool.steps):
        assert after > before or later - earlier >= bounds.cooldown
    ups = [at for at, before, after in pool.steps if after > before]
    assert all(later - earlier >= GROWING for earlier, later in pairwise(ups))


@settings(max_examples=50)
@given(bounds, lengths, loads, loads)
def test_it_never_flaps(bounds, seconds, first, then):
    """Under a load that stays as it is a pool finds its size: after a step down comes none up."""
    assume(bounds.min > 0 or then >= 1 or then == 0)  # else each job finds the pool without work
    pool = Pool(bounds, seconds)
    for _ in range(120):
        pool.second(first)
    pool.steps.clear()
    for _ in range(900):
        pool.second(then)
    ups = [index for index, (_, before, after) in enumerate(pool.steps) if after > before]
    downs = [index for index, (_, before, after) in enumerate(pool.steps) if after < before]
    assert not ups or not downs or max(ups) < min(downs), pool.steps


def test_a_pool_without_a_least_comes_for_each_job_of_a_trickle_and_goes():
    pool = Pool(Bounds(0, 4, cooldown=1), 0.1)
    for _ in range(900):
        pool.second(1 / 16)
    assert {after for _, _, after in pool.steps} == {0, 1}
    assert pool.longest <= 1


def test_a_load_that_comes_and_goes_is_met_by_patience():
    pool = Pool(Bounds(1, 8, cooldown=5), 1.0)
    for second in range(7200):
        pool.second(20.0 if second // 30 % 2 else 0.0)
    downs = [at for at, before, after in pool.steps if after < before]
    assert downs, "it had to be learnt"
    assert not [at for at in downs if at > 600]


def test_a_pool_keeps_its_objective_once_it_has_grown():
    pool = Pool(BOUNDS, 1.0)
    for _ in range(300):
        pool.second(20.0)
    pool.longest = 0.0
    for _ in range(300):
        pool.second(20.0)
    assert pool.desired in {5, 6, 7, 8}
    assert pool.longest < TARGET


def test_the_pace_is_what_leaves_the_queue():
    pace = Pace()
    pace.note(100.0, 50, 50)
    assert pace.rate is None
    pace.note(102.0, 60, 40)  # ten came, twenty went
    assert pace.rate == 10.0
    pace.note(102.0, 90, 0)  # the same sample again
    assert pace.rate == 10.0
    pace.note(103.0, 60, 90)  # came back to be retried
    assert pace.rate == 0.0
    for second in range(104, 120):
        pace.note(float(second), 60, 90)
    assert pace.rate == 0.0
    pace.note(50.0, 60, 90)
    assert pace.rate is None
