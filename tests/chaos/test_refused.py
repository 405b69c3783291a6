"""A back-end that answers, and refuses: somebody's key stands where a queue's should be."""

from __future__ import annotations

import pytest
import redis

from queued.drivers.base import NO_COUNTS
from tests.chaos.crew import Crew
from tests.process.harness import until

QUEUES = """
  used: {processes: 1, concurrency: 2, sleep: 1}
"""
JOBS = """
class Waits(Job):
    async def handle(self):
        note(self, "began")
        await until("release")
        note(self, "done")

class Ends(Job):
    async def handle(self):
        note(self, "began")
        await until("end")
"""


@pytest.mark.parametrize("crew", ["valkey"], indirect=True)
def test_what_a_back_end_refuses_costs_no_job_that_runs(crew: Crew) -> None:
    """It is no fault of theirs, and would else be charged to them as a crash."""
    waits, ends = crew.push_together("used", ["Waits", "Ends"])
    crew.until_lines("Waits-began")
    crew.until_lines("Ends-began")
    with redis.Redis.from_url(crew.url) as admin:
        admin.set("queued:{used}:meta", "mine")
        crew.touch("end")
        until(lambda: crew.events("exchange.refused"), "the worker to say so")
        admin.delete("queued:{used}:meta")
    until(lambda: crew.find(ends) is None, "the job that ended to be gone")
    info = crew.find(waits)
    assert info is not None
    assert info.counts == NO_COUNTS
    crew.touch("release")
    until(lambda: crew.find(waits) is None, "the other one to end")
    assert len(crew.lines("Waits-began")) == 1
    assert crew.exits("used") == {}
