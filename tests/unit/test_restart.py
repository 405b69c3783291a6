"""The crash-loop policy: every step from the first death to giving up."""

from __future__ import annotations

import pytest

from queued.daemon.master.restart import MAX_DELAY, STABLE_AFTER, RestartPolicy, Succession


def policy(**options) -> RestartPolicy:
    return RestartPolicy(jitter=lambda: 0.0, **options)


def die(policy: RestartPolicy, times: int = 1, **how) -> list[Succession]:
    return [policy.died(**{"lived": 0.1, "settled": 0, "began": 0, **how}) for _ in range(times)]


def test_the_first_four_deaths_are_succeeded_at_once():
    assert die(policy(), 4) == [Succession()] * 4


def test_then_come_growing_delays_and_then_it_is_given_up():
    subject = policy()
    die(subject, 4)
    assert [one.delay for one in die(subject, 5)] == [1, 2, 4, 8, 16]
    assert die(subject) == [Succession(gives_up=True)]


def test_a_settled_job_is_progress():
    subject = policy()
    die(subject, 8)
    assert die(subject, settled=1) == [Succession()]
    assert die(subject, 4) == [Succession()] * 4


def test_a_long_life_is_progress():
    subject = policy()
    die(subject, 8)
    assert die(subject, lived=STABLE_AFTER) == [Succession()]
    assert subject.deaths == 0


@pytest.mark.fault(18)
def test_dying_at_second_two_is_none():
    assert die(policy(), 10, lived=2.0)[-1].gives_up


def test_one_that_began_a_job_is_not_given_up():
    subject = policy()
    delays = [one.delay for one in die(subject, 14, began=1)]
    assert delays[-1] == MAX_DELAY
    assert not any(one.gives_up for one in die(subject, 5, began=1))


def test_it_is_given_up_when_the_last_one_began_nothing():
    subject = policy()
    die(subject, 12, began=1)
    assert die(subject) == [Succession(gives_up=True)]


def test_what_the_daemon_needs_is_never_given_up():
    subject = policy(gives_up=False)
    assert die(subject, 30)[-1] == Succession(delay=MAX_DELAY)


def test_a_death_that_was_asked_for_makes_nothing_worse():
    subject = policy()
    die(subject, 3)
    assert die(subject, 20, counts=False) == [Succession()] * 20
    assert subject.deaths == 3
    die(subject, counts=False, settled=5)
    assert subject.deaths == 0


def test_reset_starts_afresh():
    subject = policy()
    die(subject, 10)
    subject.reset()
    assert die(subject) == [Succession()]


def test_jitter_only_adds_and_never_beyond_the_longest():
    subject = RestartPolicy(gives_up=False, jitter=lambda: 1.0)
    delays = [one.delay for one in die(subject, 15)]
    assert delays[4:7] == [1.25, 2.5, 5.0]
    assert delays[-1] == MAX_DELAY
