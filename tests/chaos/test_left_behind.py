"""What a job leaves behind on its worker's loop acts after its end, and is stopped all the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from queued.drivers.base import Counts
from tests.chaos.crew import Crew
from tests.chaos.hasty import ROOT, HastyDaemon
from tests.process.harness import until

QUEUES = """
  crashes: {processes: 1, concurrency: 4, sleep: 60}
  hangs: {processes: 1, concurrency: 4, sleep: 60}
"""
JOBS = """
class Errs(Job):
    '''Its error is not settled when its worker is gone.'''
    max_tries = 1
    async def handle(self):
        note(self, "began")
        asyncio.get_running_loop().call_soon(os._exit, 1)
        raise ValueError("wrong")

class Blocks(Job):
    timeout = 1
    async def handle(self):
        note(self, "began")
        asyncio.current_task().add_done_callback(lambda _: time.sleep(3600))

class Quick(Job):
    async def handle(self):
        note(self, "done")
"""


class HastyCrew(Crew):
    """Whose master waits for a heartbeat for a tenth of the time."""

    program = HastyDaemon.program


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    folder: Path = tmp_path_factory.mktemp("crew")
    one = HastyCrew(folder, f"sqlite:///{folder}/queued.db", QUEUES, JOBS)
    one.environment |= {"PYTHONPATH": str(ROOT), "HASTY_MASTER": "1"}
    try:
        yield one.start()
    finally:
        one.clean_up()


@pytest.mark.fault(2, 7)
def test_a_job_whose_error_takes_its_worker_along_fails_after_three_crashes(crew: Crew) -> None:
    [errs] = crew.push("Errs", "crashes")
    failed, record = crew.failure("crashes")
    assert failed.id == errs
    assert failed.counts == Counts(crashes=3, suspicion=2)
    assert record["reason"] == "crashed"
    [good] = crew.push("Quick", "crashes")
    until(lambda: crew.find(good) is None, "the queue to go on")


@pytest.mark.fault(9)
def test_a_worker_that_is_blocked_when_its_job_has_ended_is_replaced(crew: Crew) -> None:
    """No deadline is missed: there is no job any more that could miss it."""
    [blocks] = crew.push("Blocks", "hangs")
    crew.until_lines("Blocks-began")
    [good] = crew.push("Quick", "hangs")
    until(lambda: crew.find(good) is None, "the queue to go on")
    until(lambda: crew.find(blocks) is None, "the job that had ended to be settled")
    assert len(crew.lines("Blocks-began")) == 1
    assert crew.exits("hangs") == {"hung": 1}
