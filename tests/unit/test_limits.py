"""Limits: who wins, and how long a job waits."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queued.jobs.backoff import Backoff
from queued.jobs.job import Job
from queued.jobs.limits import Limits, PoolLimits, resolve


class Plain(Job):
    async def handle(self) -> None: ...


class Own(Job):
    max_tries = 5
    timeout = "2m"
    retry_after = 10

    async def handle(self) -> None: ...


def delays(limits: Limits, count: int = 4) -> list[float]:
    return [limits.delay(tries) for tries in range(1, count + 1)]


def test_without_a_word_from_anyone() -> None:
    limits = resolve(Plain)

    assert (limits.max_tries, limits.timeout) == (3, 60)
    assert delays(limits) == [0, 0, 0, 0]


def test_the_queue_speaks_for_a_class_that_says_nothing() -> None:
    limits = resolve(Plain, PoolLimits(max_tries=1, timeout=5, retry_after="1m"))

    assert (limits.max_tries, limits.timeout, delays(limits, 1)) == (1, 5, [60])


def test_the_class_wins_over_the_queue() -> None:
    limits = resolve(Own, PoolLimits(max_tries=1, timeout=5, retry_after=1))

    assert (limits.max_tries, limits.timeout, delays(limits, 1)) == (5, 120, [10])


def test_a_flag_wins_over_the_class() -> None:
    limits = resolve(
        Own, PoolLimits(max_tries=1), PoolLimits(max_tries=2, timeout=3, retry_after=4)
    )

    assert (limits.max_tries, limits.timeout, delays(limits, 1)) == (2, 3, [4])


def test_a_timeout_of_zero_is_none_and_silences_the_queue() -> None:
    class Endless(Plain):
        timeout = 0

    assert resolve(Endless, PoolLimits(timeout=5)).timeout is None


def test_a_class_retry_after_wins_over_the_queue_backoff() -> None:
    assert delays(resolve(Own, PoolLimits(backoff=[1, 2])), 2) == [10, 10]


def test_at_one_level_backoff_wins_over_retry_after() -> None:
    class Both(Plain):
        retry_after = 10
        backoff = [1, "2s"]  # noqa: RUF012

    assert delays(resolve(Both), 3) == [1, 2, 2]


def test_a_retry_after_of_zero_counts_as_said() -> None:
    class AtOnce(Plain):
        retry_after = 0

    assert delays(resolve(AtOnce, PoolLimits(retry_after=60)), 1) == [0]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (10, [10, 10, 10]),
        ("1m", [60, 60, 60]),
        (0, [0, 0, 0]),
        ([1, 5], [1, 5, 5]),
        ((1, "5s", 30), [1, 5, 30]),
        ({"base": 1}, [1, 2, 4]),
        ({"base": "1s", "factor": 3, "cap": 5}, [1, 3, 5]),
        ({"base": 0, "factor": 3}, [0, 0, 0]),
        ({"base": 10, "factor": 1}, [10, 10, 10]),
        (Backoff((1.0, 2.0), factor=2.0), [1, 2, 4]),
    ],
)
def test_the_forms_of_a_backoff(value: Any, expected: list[float]) -> None:
    backoff = Backoff.parse(value)

    assert [backoff.delay(tries) for tries in (1, 2, 3)] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "at least one delay"),
        ("soon", "expected a duration"),
        (None, "expected a duration"),
        (-1, "negative"),
        ({"factor": 2}, "expected base"),
        ({"base": 1, "facto": 2}, 'unknown key "facto"; did you mean "factor"'),
        ({"base": 1, "zzz": 2}, "expected base, factor, cap, jitter"),
        ({"base": 1, "factor": 0.5}, "factor: expected 1 or more"),
        ({"base": 1, "factor": "2"}, "factor: expected a number"),
        ({"base": 1, "factor": math.inf}, "factor: expected"),
        ({"base": 1, "jitter": 2}, "jitter: expected from 0 to 1"),
        ({"base": 1, "cap": 0}, "cap must be more than 0"),
    ],
)
def test_a_malformed_backoff_says_what_is_wrong(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Backoff.parse(value)


@given(
    base=st.floats(0, 1e6),
    factor=st.floats(1, 1e6),
    cap=st.floats(1e-3, 1e6),
    jitter=st.floats(0, 1),
    tries=st.integers(1, 10**9),
)
def test_a_delay_stays_between_nothing_and_the_cap(
    base: float, factor: float, cap: float, jitter: float, tries: int
) -> None:
    backoff = Backoff.parse({"base": base, "factor": factor, "cap": cap, "jitter": jitter})

    assert 0 <= backoff.delay(tries) <= cap


def test_jitter_takes_up_to_its_share_off() -> None:
    backoff = Backoff.parse({"base": 100, "factor": 1, "jitter": 0.5})
    seen = [backoff.delay(1) for _ in range(500)]

    assert all(50 <= delay <= 100 for delay in seen)
    assert max(seen) - min(seen) > 10
