"""What the master does about samples: which pools are looked at, and when it holds still."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from queued.daemon.master.autoscaler import FRESH, Autoscaler
from queued.daemon.master.child import Child, ChildState
from queued.daemon.master.pool import Pool
from queued.daemon.master.scaling import Bounds
from queued.daemon.scoreboard import SlotState
from queued.daemon.spec import QueueSpec
from queued.drivers.brakes import RateLimit
from queued.drivers.states import Lane
from tests.unit.children import blueprint, make_child

LATE = {"ready": 50, "scheduled": 0, "oldest_ready_age_seconds": 60.0, "enqueued_total": 50}
EMPTY = LATE | {"ready": 0, "oldest_ready_age_seconds": 0.0}


class Bench:
    """A pool whose workers are all busy, and a workforce that knows no more than it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pool = Pool("emails", blueprint(concurrency=2), 2, self._launch)
        self.pool.bounds = Bounds(1, 8, cooldown=5.0)
        objectives = SimpleNamespace(queues={"emails": QueueSpec(max_wait=10.0)})
        self.force: Any = SimpleNamespace(
            pools={"emails": self.pool},
            sample={},
            quiet=False,
            plan=SimpleNamespace(monitor=objectives),
            allow_descriptors=lambda: None,
        )
        self.scaler = Autoscaler(self.force)
        self.fill()

    def _launch(self, pool: Pool, index: int, lane: Lane) -> Child:
        return make_child(index=index, lane=lane, made_from=pool.blueprint, now=self.now)

    def fill(self, *, busy: bool = True) -> None:
        """Let the workers come up, and give them something to do."""
        self.pool.tick(self.now)
        for child in self.pool.children:
            if child.state is ChildState.STARTING:
                child.change(ChildState.RUNNING, self.now)
            assert child.board is not None
            for slot in range(2):
                child.board._states[slot] = SlotState.RUNNING if busy else SlotState.IDLE

    def samples(self, stats: dict[str, Any], seconds: int = 6, **values: Any) -> int:
        """Send a sample a second; return how many workers there should be then."""
        for _ in range(seconds):
            self.now += 1.0
            frame = {"at": self.now, "driver_up": True, "queues": {"emails": stats}}
            self.force.sample = frame | values
            self.scaler.tick(self.now)
        return self.pool.desired


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_it_grows_and_shrinks(bench: Bench) -> None:
    assert bench.samples(LATE, 2) == 4
    bench.fill(busy=False)
    assert bench.samples(EMPTY, 8) == 3


def test_the_first_sample_only_begins(bench: Bench) -> None:
    assert bench.samples(LATE, 1) == 2


def test_after_a_gap_it_looks_twice(bench: Bench) -> None:
    bench.samples(EMPTY, 1)
    bench.now += FRESH + 1
    assert bench.samples(LATE, 1) == 2
    assert bench.samples(LATE, 1) == 4


def test_the_same_sample_counts_once(bench: Bench) -> None:
    bench.samples(LATE, 2)
    bench.pool.desired = 2
    for _ in range(20):
        bench.now += 1.0
        bench.scaler.tick(bench.now)
    assert bench.pool.desired == 2


def test_it_holds_while_the_back_end_is_away(bench: Bench) -> None:
    assert bench.samples(LATE, driver_up=False) == 2


def test_it_holds_while_a_change_is_under_way(bench: Bench) -> None:
    bench.scaler.tick = lambda now, tick=bench.scaler.tick: tick(now, hold=True)  # type: ignore[method-assign, misc]
    assert bench.samples(LATE) == 2


@pytest.mark.parametrize("held", [{"paused": {"by": "me"}}, {"limited_seconds": 0.4}])
def test_what_is_held_back_does_not_make_it_grow(bench: Bench, held: dict[str, Any]) -> None:
    bench.pool.blueprint = blueprint(concurrency=2, rate_limit=RateLimit(1.0, 1))
    assert bench.samples(LATE | held) == 2
    assert bench.samples(LATE, 4) == 2, "a limit lets a job through now and then"
    assert bench.samples(LATE, 4) > 2


def test_a_limit_that_it_has_no_more_holds_nothing_back(bench: Bench) -> None:
    """The back-end's bucket stays as it was left."""
    assert bench.samples(LATE | {"limited_seconds": 3600.0}) > 2


def test_while_its_queue_is_paused_it_may_shrink(bench: Bench) -> None:
    bench.fill(busy=False)
    assert bench.samples(LATE | {"paused": {"by": "me"}}, 15) == 1


def test_by_hand_it_stays(bench: Bench) -> None:
    bench.pool.by_hand = True
    assert bench.samples(LATE) == 2


def test_quiet_it_stays(bench: Bench) -> None:
    bench.force.quiet = True
    assert bench.samples(LATE) == 2


def test_a_pool_that_crashes_is_not_made_larger(bench: Bench) -> None:
    bench.pool.children[0].change(ChildState.BACKOFF, bench.now)
    assert bench.samples(LATE) == 2


def test_a_pool_with_a_fixed_number_is_left_alone(bench: Bench) -> None:
    bench.pool.bounds = None
    assert bench.samples(LATE) == 2


def test_a_queue_that_nobody_sampled(bench: Bench) -> None:
    assert bench.samples(LATE, queues={}) == 2
