"""How reachable the back-end is, from how calls end."""

from __future__ import annotations

import pytest
import structlog

from queued.daemon.metrics import Metrics
from queued.daemon.reach import GAP, REFUSAL_GAP, SETTLED, Reach
from queued.errors import DriverUnavailable, OwnerLost, QueueUnavailable


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def reach(clock: Clock, metrics: Metrics) -> Reach:
    return Reach("redis", metrics, clock=clock)


def answer(reach: Reach) -> None:
    with reach.watch("stats"):
        pass


def fail(reach: Reach) -> None:
    with pytest.raises(DriverUnavailable), reach.watch("stats"):
        raise DriverUnavailable("connection refused")


def refuse(reach: Reach) -> None:
    with pytest.raises(QueueUnavailable), reach.watch("renew"):
        raise QueueUnavailable("locked")


def test_one_queue_that_cannot_be_used_is_no_outage(reach: Reach, clock: Clock) -> None:
    with structlog.testing.capture_logs() as lines:
        for _ in range(11):
            refuse(reach)
            clock.now += 1
    assert [line["event"] for line in lines] == ["queue.unavailable"]
    assert reach.up
    assert reach.steady == 10
    assert reach.error == "locked"


def test_nothing_is_known_at_first(reach: Reach, clock: Clock) -> None:
    clock.now += 7
    assert (reach.up, reach.since, reach.steady) == (False, 7, 0)


def test_it_is_steady_from_the_first_answer_to_the_last(reach: Reach, clock: Clock) -> None:
    for _ in range(11):
        answer(reach)
        clock.now += 1
    assert reach.up
    assert reach.steady == 10


def test_a_failure_ends_it_and_says_since_when(reach: Reach, clock: Clock) -> None:
    answer(reach)
    clock.now += 1
    fail(reach)
    clock.now += 12
    fail(reach)
    assert (reach.up, reach.since, reach.steady) == (False, 12, 0)
    answer(reach)
    clock.now += 1
    answer(reach)
    assert reach.steady == 1


def test_a_gap_is_a_break_too(reach: Reach, clock: Clock) -> None:
    answer(reach)
    clock.now += GAP + 1
    answer(reach)
    assert reach.steady == 0


def test_a_lock_that_is_waited_for_is_no_gap(reach: Reach, clock: Clock) -> None:
    answer(reach)
    for _ in range(4):
        clock.now += GAP + 1
        refuse(reach)
    answer(reach)
    assert reach.steady == 4 * (GAP + 1)
    clock.now += REFUSAL_GAP + 1
    refuse(reach)
    assert reach.steady == 0


def test_an_unwelcome_answer_is_an_answer(reach: Reach, metrics: Metrics) -> None:
    with pytest.raises(OwnerLost), reach.watch("exchange"):
        raise OwnerLost("retired")
    assert reach.up
    assert metrics.snapshot()["counters"]["driver_errors_total"] == [
        [{"driver": "redis", "kind": "unavailable"}, 0],
        [{"driver": "redis", "kind": "OwnerLost"}, 1],
    ]


def test_each_change_is_logged_once(reach: Reach, clock: Clock) -> None:
    with structlog.testing.capture_logs() as lines:
        answer(reach)
        fail(reach)
        fail(reach)
        clock.now += 3
        answer(reach)
        answer(reach)
    assert [(line["event"], line.get("away")) for line in lines] == [
        ("backend.unreachable", None),
        ("backend.reachable", 3),
    ]


def test_reads_that_are_answered_between_writes_that_are_not_do_not_fill_the_log(
    reach: Reach, clock: Clock
) -> None:
    """As with a full disk."""
    with structlog.testing.capture_logs() as lines:
        for _ in range(100):
            fail(reach)
            clock.now += 1
            answer(reach)
            assert reach.error == "connection refused"
        clock.now += SETTLED
        answer(reach)
        assert reach.error == ""
    events = [line["event"] for line in lines]
    assert events == ["backend.unreachable", "backend.reachable"] * 2
    assert lines[-1]["away"] == 99 + SETTLED


def test_a_back_end_that_was_never_there_is_logged_too(reach: Reach) -> None:
    with structlog.testing.capture_logs() as lines:
        fail(reach)
        fail(reach)
    assert [line["event"] for line in lines] == ["backend.unreachable"]
