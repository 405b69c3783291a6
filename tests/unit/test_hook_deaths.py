"""A hook that workers die of is not run for ever."""

from __future__ import annotations

import pytest

from queued.daemon.monitor.hook_deaths import REMEMBERED, HookDeaths
from queued.daemon.verdict import HOOK_FENCE, Sentence, Verdict


def sentence(verdict: Verdict, fence: int = HOOK_FENCE) -> Sentence:
    return Sentence(verdict, "app.Send.failed", fence, 0, 0.0, ran=1.0)


@pytest.mark.parametrize("verdict", [Verdict.CRASHED, Verdict.SUSPECT])
def test_the_third_worker_that_dies_with_it_is_the_last(verdict):
    deaths = HookDeaths()
    again = ["one", "one", "two", "two", "three"]  # a burial may have to be repeated
    over = [deaths.is_over("job-1", owner, sentence(verdict)) for owner in again]
    assert over == [False, False, False, False, True]


def test_one_that_its_worker_was_killed_for_has_had_its_time():
    assert HookDeaths().is_over("job-1", "one", sentence(Verdict.TIMED_OUT))


@pytest.mark.parametrize("verdict", [Verdict.BYSTANDER, Verdict.NOT_STARTED])
def test_a_stop_is_held_against_nobody(verdict):
    deaths = HookDeaths()
    assert not any(deaths.is_over("job-1", str(n), sentence(verdict)) for n in range(9))


def test_a_job_is_no_hook():
    deaths = HookDeaths()
    of_job = sentence(Verdict.TIMED_OUT, fence=7)
    assert not any(deaths.is_over("job-1", str(n), of_job) for n in range(9))


def test_what_is_remembered_has_an_end():
    deaths = HookDeaths()
    for n in range(REMEMBERED + 1):
        deaths.is_over(f"job-{n}", "one", sentence(Verdict.CRASHED))
    assert len(deaths._owners) == REMEMBERED
