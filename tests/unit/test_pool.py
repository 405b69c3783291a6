"""A pool closes the gap between what should run and what does, a step at a time."""

from __future__ import annotations

import pytest

from queued.daemon.master.child import Child, ChildState, Force, abort, drain, leaving
from queued.daemon.master.pool import MAX_SOLO, Pool
from queued.drivers.states import Lane
from tests.unit.children import blueprint, make_child

S = ChildState


class Bench:
    """A pool whose children have no process; the clock stands until it is moved."""

    def __init__(self, desired: int, **settings) -> None:
        self.now = 100.0
        self.can_launch = True
        self.launched: list[Child] = []
        self.pool = Pool("emails", blueprint(**settings), desired, self._launch)

    def _launch(self, pool: Pool, index: int, lane: Lane) -> Child | None:
        if not self.can_launch:
            return None
        child = make_child(
            index=index, lane=lane, code=pool.code, made_from=pool.blueprint, now=self.now
        )
        self.launched.append(child)
        return child

    def tick(self, seconds: float = 0.0) -> None:
        self.now += seconds
        self.pool.tick(self.now)

    def get_ready(self) -> None:
        for child in self.pool.children:
            if child.state is S.STARTING:
                child.change(S.RUNNING, self.now)

    def come_up(self) -> None:
        self.tick()
        self.get_ready()

    def die(self, child: Child, *, counts: bool = True) -> None:
        self.pool.bury(child, counts=counts, now=self.now)

    def indices(self) -> list[int]:
        return sorted(child.index for child in self.pool.children)


def test_it_fills_its_seats():
    bench = Bench(3)
    bench.tick()
    assert bench.indices() == [1, 2, 3]
    assert bench.pool.state == "starting"
    bench.get_ready()
    assert bench.pool.state == "running"
    assert bench.pool.settled
    bench.tick()
    assert len(bench.launched) == 3


def test_it_waits_for_a_template():
    bench = Bench(2)
    bench.can_launch = False
    bench.tick()
    assert bench.pool.children == []
    bench.can_launch = True
    bench.tick()
    assert bench.indices() == [1, 2]


def test_a_crashed_child_is_succeeded_at_once():
    bench = Bench(2)
    bench.come_up()
    victim = bench.pool.children[0]
    bench.die(victim)
    assert victim.state is S.EXITED
    bench.tick()
    assert bench.indices() == [1, 2]


def crash_until(bench: Bench, state: ChildState, limit: int = 30) -> Child:
    for _ in range(limit):
        bench.come_up()
        child = bench.pool.children[0]
        if child.living:
            bench.die(child)
        if child.state is state:
            return child
        bench.now += 70.0 if child.state is S.BACKOFF else 0.1
    raise AssertionError(f"never {state}")


def test_a_crash_loop_backs_off_and_is_then_given_up():
    bench = Bench(1)
    child = crash_until(bench, S.BACKOFF)
    launched = len(bench.launched)
    assert launched == 5
    assert bench.pool.state == "backoff"
    bench.tick(0.5)
    assert len(bench.launched) == launched  # it waits
    bench.tick(child.deadline - bench.now)
    assert len(bench.launched) == launched + 1
    assert child.state is S.EXITED
    crash_until(bench, S.FATAL)
    assert bench.pool.state == "fatal"
    bench.tick(1000.0)
    assert len(bench.launched) == 10


def test_one_seat_in_fatal_leaves_the_others_alone():
    bench = Bench(2)
    for _ in range(30):
        bench.come_up()
        for child in bench.pool.children:
            if child.index == 1 and child.living:
                bench.die(child)
        bench.now += 70.0
    assert bench.pool.state == "fatal"
    assert [child.index for child in bench.pool.running] == [2]


@pytest.mark.parametrize("state", [S.BACKOFF, S.FATAL])
def test_retry_tries_again_at_once(state):
    bench = Bench(1)
    child = crash_until(bench, state)
    bench.pool.retry()
    bench.come_up()
    assert child not in bench.pool.children
    assert bench.pool.state == "running"


def test_scaling_up_starts_the_difference():
    bench = Bench(1)
    bench.come_up()
    bench.pool.desired = 3
    bench.tick()
    assert bench.indices() == [1, 2, 3]


def test_scaling_down_drains_the_difference():
    bench = Bench(3, shutdown_grace=7.0)
    bench.come_up()
    bench.pool.desired = 1
    bench.tick()
    stopping = {child.index: child for child in bench.pool.children if child.state is S.STOPPING}
    assert set(stopping) == {2, 3}
    assert all(child.stop.force is Force.DRAIN for child in stopping.values())
    for child in stopping.values():
        bench.die(child, counts=False)
        assert child.state is S.STOPPED
    bench.tick()
    assert bench.indices() == [1]


def test_scaling_to_nothing():
    bench = Bench(1)
    bench.come_up()
    bench.pool.desired = 0
    bench.tick()
    assert bench.pool.state == "stopping"
    bench.die(bench.pool.children[0], counts=False)
    assert bench.pool.state == "stopped"


def test_what_recycles_itself_is_succeeded_when_it_is_gone():
    bench = Bench(1)
    bench.come_up()
    child = bench.pool.children[0]
    child.end(leaving(30.0), bench.now)
    bench.tick()
    assert len(bench.launched) == 1
    bench.die(child, counts=False)
    assert child.state is S.EXITED
    bench.tick()
    assert len(bench.launched) == 2


def test_what_is_killed_for_a_job_is_succeeded_when_it_is_gone():
    bench = Bench(1)
    bench.come_up()
    bench.pool.children[0].end(abort(frozenset({"job"})), bench.now)
    bench.tick()
    assert len(bench.launched) == 1


def change_settings(bench: Bench) -> None:
    bench.pool.blueprint = blueprint(concurrency=3)
    bench.pool.retry()


def change_code(bench: Bench) -> None:
    bench.pool.code = 2
    bench.pool.retry()


@pytest.mark.parametrize("change", [change_settings, change_code])
def test_stale_children_are_replaced_one_by_one(change):
    bench = Bench(2)
    bench.come_up()
    old = list(bench.pool.children)
    change(bench)
    for victim in old:
        bench.tick()
        assert victim.state is S.RUNNING  # its successor starts first
        assert len(bench.pool.living) == 3
        bench.tick()
        assert len(bench.pool.living) == 3
        bench.get_ready()
        bench.tick()
        assert victim.stop.force is Force.DRAIN
        bench.tick()
        assert len(bench.pool.living) == 3  # the next one waits for this one's end
        bench.die(victim, counts=False)
    bench.come_up()
    assert bench.pool.settled
    assert bench.indices() == [1, 2]
    assert not set(old) & set(bench.pool.children)


def test_a_successor_that_cannot_start_leaves_the_old_one_at_work():
    bench = Bench(1)
    bench.come_up()
    (old,) = bench.pool.children
    change_settings(bench)
    for _ in range(30):
        bench.tick(70.0)
        for child in bench.pool.living:
            if child is not old:
                bench.die(child)
    assert old.state is S.RUNNING
    assert bench.pool.state == "fatal"


def test_going_back_leaves_the_old_one_where_it_was():
    bench = Bench(1)
    bench.come_up()
    (old,) = bench.pool.children
    change_code(bench)
    bench.tick()
    new = bench.pool.children[1]
    bench.die(new)
    bench.pool.code = 1
    bench.pool.retry()
    bench.come_up()
    assert bench.pool.children == [old]
    assert bench.pool.settled


@pytest.mark.parametrize("is_up", [True, False])
def test_a_change_in_the_middle_of_a_replacement(is_up):
    """Both in the seat are stale then; the one that runs stays until its successor does."""
    bench = Bench(1)
    bench.come_up()
    (first,) = bench.pool.children
    change_settings(bench)
    bench.tick()
    second = bench.pool.children[1]
    if is_up:
        bench.get_ready()
    change_code(bench)
    bench.tick()
    stays, goes = (second, first) if is_up else (first, second)
    assert goes.stop.force is Force.DRAIN
    assert stays.state is S.RUNNING
    bench.die(goes, counts=False)
    bench.come_up()
    bench.tick()
    assert stays.stop.force is Force.DRAIN
    bench.die(stays, counts=False)
    bench.tick()
    assert bench.pool.settled


def test_one_that_crashes_while_another_drains_is_succeeded_at_once():
    bench = Bench(2)
    bench.come_up()
    first, second = bench.pool.children
    change_code(bench)
    bench.tick()
    bench.get_ready()
    bench.tick()
    assert first.state is S.STOPPING
    bench.die(second)
    bench.tick()
    assert [child.index for child in bench.pool.children if child.active] == [1, 2]


def test_suspects_have_one_temporary_worker():
    bench = Bench(2)
    bench.come_up()
    bench.pool.serve_suspects()
    bench.pool.serve_suspects()
    (solo,) = [child for child in bench.pool.children if child.solo]
    assert solo.index == 3
    assert solo.name == "emails/solo"
    bench.come_up()
    assert solo.state is S.RUNNING
    assert bench.pool.settled


def test_while_temporary_workers_are_busy_there_is_another_up_to_a_bound():
    bench = Bench(1)
    bench.come_up()
    for number in range(MAX_SOLO + 2):
        bench.pool.serve_suspects()
        solo = [child for child in bench.pool.children if child.solo]
        assert len(solo) == min(number + 1, MAX_SOLO)
        solo[-1].board.begin(0, f"job-{number}", "Send", 1, 100.0, 0.0, 3, 0.0)


def test_a_pool_that_runs_one_job_at_a_time_has_one_temporary_worker():
    bench = Bench(1)
    bench.pool.blueprint = blueprint(concurrency=1)
    for number in range(2):
        bench.pool.serve_suspects()
        (solo,) = [child for child in bench.pool.children if child.solo]
        solo.board.begin(number, f"job-{number}", "Send", 1, 100.0, 0.0, 3, 0.0)


def test_a_temporary_worker_never_counts():
    bench = Bench(1)
    bench.come_up()
    for _ in range(20):
        bench.pool.serve_suspects()
        (solo,) = [child for child in bench.pool.children if child.solo]
        bench.die(solo)
        assert solo.state is S.EXITED
    assert bench.pool.state == "running"


def test_a_pool_that_is_parked_serves_no_suspects():
    bench = Bench(0)
    bench.pool.serve_suspects()
    assert bench.launched == []


def test_a_stale_temporary_worker_drains():
    bench = Bench(1)
    bench.come_up()
    bench.pool.serve_suspects()
    bench.come_up()
    change_settings(bench)
    bench.tick()
    (solo,) = [child for child in bench.pool.children if child.solo]
    assert solo.stop.force is Force.DRAIN


def test_ending_stops_all_and_starts_none():
    bench = Bench(2)
    bench.come_up()
    bench.pool.end(drain(30.0), bench.now)
    bench.tick()
    assert len(bench.launched) == 2
    assert {child.state for child in bench.pool.children} == {S.STOPPING}
    for child in bench.pool.living:
        bench.die(child)
    bench.tick()
    assert bench.pool.children == []
    assert bench.pool.state == "stopped"


def test_ending_clears_what_waits():
    bench = Bench(1)
    crash_until(bench, S.FATAL)
    bench.pool.end(drain(30.0), bench.now)
    bench.tick()
    assert bench.pool.children == []


def test_one_that_never_gets_ready_makes_no_progress_however_long_it_lives():
    bench = Bench(1)
    for _ in range(5):
        bench.tick()
        bench.now += 31.0
        bench.die(bench.pool.children[0])
    assert bench.pool.state == "backoff"
