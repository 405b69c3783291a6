"""Deadlines that hold: whatever a job does, it ends at its timeout, and its neighbours do not pay.

Each kind of job has a pool of its own with two neighbours: one that needs a moment more, and one
that would run for ever. Both have longer timeouts than the job.
"""

from __future__ import annotations

import pytest

from queued.drivers.base import Counts
from tests.chaos.crew import Crew
from tests.process.harness import until

KINDS = ("Blocks", "HoldsTheGil", "Swallows", "Plain", "Deaf")
LEAVES_THE_LOOP = {"Swallows", "Plain"}
"""Kinds beside which a neighbour can end within the grace: that has to be time enough for it."""
QUEUES = "".join(
    f"  {name}: {{processes: 1, concurrency: 3, sleep: 60, "
    f"kill_grace: {4 if name in LEAVES_THE_LOOP else 1}}}\n"
    for name in (*KINDS, "Sleeps", "late")
)
JOBS = """
class Limited(Job):
    timeout = 0.5
    max_tries = 1

class Sleeps(Limited):
    async def handle(self):
        note(self, "began")
        await asyncio.sleep(3600)

class Blocks(Limited):
    async def handle(self):
        await neighbours(self)
        time.sleep(3600)

class HoldsTheGil(Limited):
    async def handle(self):
        await neighbours(self)
        ctypes.PyDLL(None).sleep(3600)

class Swallows(Limited):
    async def handle(self):
        await neighbours(self)
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                pass

class Plain(Limited):
    def handle(self):
        asyncio.run(neighbours(self))
        time.sleep(3600)

class Deaf(Limited):
    '''Not even SIGABRT ends it.'''
    async def handle(self):
        signal.signal(signal.SIGABRT, signal.SIG_IGN)
        await neighbours(self)
        time.sleep(3600)

async def neighbours(job):
    kind = type(job).__name__
    await until(f"{kind}-moment")
    await until(f"{kind}-ever")
    note(job, "began")

class Neighbour(Job):
    timeout = 600
    kind: str
    async def handle(self):
        note(self, "began")
        Path(f"{self.kind}-ever").touch()
        await until(f"{self.kind}-release")
        note(self, "done")

class Finishes(Job):
    '''Ends in the grace, if it can.'''
    timeout = 600
    kind: str
    async def handle(self):
        note(self, "began")
        Path(f"{self.kind}-moment").touch()
        await asyncio.sleep(0.8)
        note(self, "done")

class Holds(Job):
    '''Blocks the loop as soon as its victim runs beside it.'''
    timeout = 3.0
    max_tries = 1
    async def handle(self):
        note(self, "began")
        await asyncio.sleep(0.1)
        time.sleep(3600)

class Victim(Job):
    '''Runs still when it is blocked, and alone has plenty of time.'''
    timeout = 3.0
    max_tries = 1
    async def handle(self):
        note(self, "began")
        await asyncio.sleep(0.5)
        note(self, "done")
"""


@pytest.mark.fault(9, 10, 11)
@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_cancelled_is_killed_and_its_neighbours_do_not_pay(
    crew: Crew, kind: str
) -> None:
    [ever] = crew.push("Neighbour", kind, kind=kind)
    [moment] = crew.push("Finishes", kind, kind=kind)
    [culprit] = crew.push(kind, kind)
    failed, record = crew.failure(kind)
    assert failed.id == culprit
    assert failed.counts == Counts(timeouts=1)
    assert record["reason"] == "timed_out"
    assert record["error"].startswith("JobTimeout: ")
    assert 0.5 <= record["dossier"]["ran"] < 15.0  # 0.5 and a grace of 4 at most, under load
    assert crew.exits(kind) == {"hung": 1}
    [crash] = crew.events("worker.crashed", worker=f"{kind}/1")
    assert crash["how"] == ("SIGKILL" if kind == "Deaf" else "SIGABRT")
    assert [one["job_id"] for one in crew.events("job.overran", worker=f"{kind}/1")] == [culprit]

    again = until(lambda: runs(crew, "Neighbour-began", ever)[1:], "the neighbour to run again")
    assert again == [2]
    info = crew.find(ever)
    assert info is not None
    assert info.counts == Counts(releases=1)
    until(lambda: runs(crew, "Finishes-done", moment), "the other neighbour to end")
    if kind in LEAVES_THE_LOOP:  # where it could, it has ended within the grace
        assert runs(crew, "Finishes-done", moment) == [1]
    crew.touch(f"{kind}-release")
    until(lambda: runs(crew, "Neighbour-done", ever), "it to end")


def runs(crew: Crew, name: str, job_id: str) -> list[int]:
    """Return the attempts of a job in a file of lines."""
    return [line.attempt for line in crew.lines(name) if line.id == job_id]


def test_what_can_be_cancelled_costs_no_worker(crew: Crew) -> None:
    crew.push("Sleeps", "Sleeps", times=3)
    until(lambda: len(crew.failed("Sleeps")) == 3, "all to fail")
    assert {failed.counts for failed in crew.failed("Sleeps")} == {Counts(timeouts=1)}
    assert crew.exits("Sleeps") == {}
    assert len({line.pid for line in crew.lines("Sleeps-began")}) == 1


def test_one_whose_loop_was_held_beyond_its_own_deadline_is_a_suspect_and_not_charged(
    crew: Crew,
) -> None:
    """Two are late and one of them holds the loop: which one shows when each runs alone."""
    victim, holds = crew.push_together("late", ["Victim", "Holds"])
    failed, record = crew.failure("late")
    assert failed.id == holds
    assert failed.counts == Counts(timeouts=1, lost=2)
    assert record["reason"] == "timed_out"
    until(lambda: crew.find(victim) is None, "its victim to be done")
    assert crew.lines("Victim-done")
