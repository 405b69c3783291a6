"""New code into service: pool by pool, or back to where it was."""

from __future__ import annotations

import pytest

from queued.daemon.master.rollout import Rollout
from tests.unit.test_pool import Bench


@pytest.fixture
def benches():
    benches = [Bench(1), Bench(2)]
    for n, bench in enumerate(benches):
        bench.pool.name = f"pool{n}"
        bench.come_up()
    return benches


def advance(rollout: Rollout, benches: list[Bench], turns: int = 20) -> None:
    """Let everything start, run and drain as it is told to."""
    for _ in range(turns):
        rollout.tick()
        for bench in benches:
            bench.come_up()
            for child in bench.pool.living:
                if child.stop is not None:
                    bench.die(child, counts=False)


def test_one_pool_after_the_other(benches):
    first, second = benches
    rollout = Rollout([first.pool, second.pool], 2)
    rollout.tick()
    assert (first.pool.code, second.pool.code) == (2, 1)
    advance(rollout, [second])
    assert second.pool.code == 1  # the first one has not been replaced yet
    advance(rollout, benches)
    assert rollout.done
    assert not rollout.error
    assert {child.code for bench in benches for child in bench.pool.children} == {2}


def test_a_worker_of_the_new_code_that_dies_at_once_stops_it(benches):
    first, second = benches
    rollout = Rollout([first.pool, second.pool], 2)
    advance(rollout, [first, second], turns=3)
    rollout.tick()
    second.pool.code = 2
    second.tick()
    victim = next(child for child in second.pool.children if child.code == 2)
    victim.said_ready = True
    rollout.died(victim, "SIGSEGV", second.now + 0.5)
    assert "emails/1 of the new code ended at once (SIGSEGV)" in rollout.error
    assert (first.pool.code, second.pool.code) == (1, 1)
    rollout.tick()
    assert not rollout.done


def test_a_worker_of_the_new_code_that_never_comes_up_stops_it(benches):
    """Else its seat is given up in the end, and the change would wait for it for ever."""
    first, _ = benches
    rollout = Rollout([first.pool], 2)
    rollout.tick()
    first.tick()
    new = first.pool.children[-1]
    assert (new.code, new.said_ready) == (2, False)
    rollout.died(new, "SIGABRT", first.now + 31.0)
    assert "emails/1 of the new code never came up (SIGABRT)" in rollout.error
    assert first.pool.code == 1


@pytest.mark.parametrize("excuse", ["old code", "progress", "long life", "solo"])
def test_other_deaths_do_not(benches, excuse):
    first, _ = benches
    rollout = Rollout([first.pool], 2)
    rollout.tick()
    first.tick()
    old, new = first.pool.children
    new.said_ready = True
    age = 0.5
    victim = old if excuse == "old code" else new
    if excuse == "progress":
        new.board.begin(0, "job", "Job", 1, 0.0, 0.0, 3, 0.0)
        new.board.clear(0)
    elif excuse == "long life":
        age = 11.0
    elif excuse == "solo":
        new.lane = "solo"
    rollout.died(victim, "SIGKILL", first.now + age)
    assert not rollout.error or excuse == "solo"


def test_an_empty_pool_is_done_at_once():
    bench = Bench(0)
    rollout = Rollout([bench.pool], 2)
    rollout.tick()
    assert rollout.done


def test_nothing_to_do_is_done():
    rollout = Rollout([], 2)
    rollout.tick()
    assert rollout.done
