"""Poison pills beside good jobs: the pills are convicted, and nobody else is held up or charged."""

from __future__ import annotations

import json

import pytest

from queued.drivers.base import Counts
from tests.chaos.crew import Crew
from tests.process.harness import until

QUEUES = """
  pills: {processes: 2, concurrency: 8, sleep: 60}
  long: {processes: 1, concurrency: 4, sleep: 60}
"""
JOBS = """
class Poison(Job):
    async def handle(self):
        note(self, "began")
        await asyncio.sleep(0.05)
        os.kill(os.getpid(), signal.SIGKILL)

class Good(Job):
    '''One charge would fail it.'''
    max_tries = 1
    async def handle(self):
        note(self, "began")
        await asyncio.sleep(0.05)
        note(self, "done")

class Waits(Job):
    max_tries = 1
    async def handle(self):
        note(self, "began")
        await until("release")
        note(self, "done")
"""
BACKENDS = pytest.mark.parametrize("crew", ["sqlite", "valkey"], indirect=True)
PILLS = 3
GOOD = 60


@pytest.mark.fault(2)
@BACKENDS
def test_pills_fail_after_three_crashes_alone_and_good_jobs_pay_nothing(crew: Crew) -> None:
    pattern = ["Good"] * (GOOD // PILLS) + ["Poison"]
    ids = crew.push_together("pills", pattern * PILLS)
    pills = {id_ for id_, job in zip(ids, pattern * PILLS, strict=True) if job == "Poison"}
    until(lambda: len(crew.lines("Good-done")) >= GOOD, "the good jobs to be done")
    until(lambda: len(crew.failed("pills")) == PILLS, "the pills to fail", every=0.1)
    failed = crew.failed("pills")
    assert {one.id for one in failed} == pills  # and with one try, a charge would have failed more
    for one in failed:
        assert (one.counts.crashes, one.counts.tries) == (3, 0)
        assert json.loads(one.record)["reason"] == "crashed"
        notes = [json.loads(line) for line in one.history.splitlines()]
        assert ["alone" in note["error"] for note in notes[-3:]] == [True] * 3
        assert len(crew_runs(crew, one.id)) == one.counts.runs <= 3 + 2
    again = [line for line in crew.lines("Good-began") if line.attempt > 1]
    assert len(again) <= 2 * 7 * PILLS  # twice at most for each pill, those that ran beside it
    assert set(crew.exits("pills")) <= {"signal", "empty"}


def crew_runs(crew: Crew, job_id: str) -> list[int]:
    return [line.attempt for line in crew.lines("Poison-began") if line.id == job_id]


@BACKENDS
def test_neither_new_jobs_nor_the_verdict_wait_for_a_suspect_that_runs_long(crew: Crew) -> None:
    """Order alone shows it: what waits for nothing ends while the other one still runs."""
    waits, poison = crew.push_together("long", ["Waits", "Poison"])
    until(lambda: state(crew, waits).suspicion == 2, "it to be a suspect, as the pill is")
    until(lambda: len(runs(crew, waits)) == 3, "it to run alone")
    [good] = crew.push("Good", "long")
    until(lambda: crew.find(good) is None, "a new job to be done")
    failed, _ = crew.failure("long")
    assert failed.id == poison
    assert failed.counts == Counts(crashes=3, lost=2, suspicion=2)
    assert state(crew, waits) == Counts(lost=2, suspicion=2)
    shown = json.loads(crew.run("job", waits, "--json").stdout)
    assert shown["counts"]["tries"] == 0
    assert [note["outcome"] for note in shown["history"]] == ["lost", "lost"]
    crew.touch("release")
    until(lambda: crew.find(waits) is None, "it to be done")
    assert runs(crew, waits) == [1, 2, 3]


def state(crew: Crew, job_id: str) -> Counts:
    info = crew.find(job_id)
    assert info is not None
    return info.counts


def runs(crew: Crew, job_id: str) -> list[int]:
    return [line.attempt for line in crew.lines("Waits-began") if line.id == job_id]
