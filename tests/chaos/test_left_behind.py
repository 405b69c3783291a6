"""What acts on a worker when its job has ended is stopped all the same.

Callbacks that the job left behind, and its ``failed()``. What takes 60 s takes 6 s here.
"""

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
  HookDies: {processes: 1, concurrency: 2, sleep: 1}
  HookBlocks: {processes: 1, concurrency: 2, sleep: 1, kill_grace: 1}
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

class HookDies(Job):
    max_tries = 1
    async def handle(self):
        raise ValueError("wrong")
    async def failed(self, error):
        await until(f"{type(self).__name__}-beside")
        note(self, "hook")
        os._exit(1)

class HookBlocks(HookDies):
    async def failed(self, error):
        await until(f"{type(self).__name__}-beside")
        note(self, "hook")
        time.sleep(3600)

class Beside(Job):
    kind: str
    timeout = 600
    async def handle(self):
        note(self, "began")
        Path(f"{self.kind}-beside").touch()
        await until(f"{self.kind}-release")
        note(self, "done")

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


@pytest.mark.fault(42)
@pytest.mark.parametrize(
    ("kind", "calls", "exits"), [("HookDies", 3, {"crash": 3}), ("HookBlocks", 1, {"hung": 1})]
)
def test_a_hook_that_takes_workers_along_is_given_up_and_its_neighbours_do_not_pay(
    crew: Crew, kind: str, calls: int, exits: dict[str, int]
) -> None:
    [hooked] = crew.push(kind, kind)
    [beside] = crew.push("Beside", kind, kind=kind)
    until(lambda: crew.failed(kind) and not crew.failed(kind)[0].hook_pending, "its end", every=0.1)
    until(lambda: len(crew.lines("Beside-began")) > 1, "the neighbour to run again")
    assert [line.id for line in crew.lines(f"{kind}-hook")] == [hooked] * calls
    [given_up] = until(  # it is logged once it is settled
        lambda: crew.events("hook.given_up", queue=kind), "the log to say so"
    )
    assert (given_up["job_id"], given_up["job"]) == (hooked, f"work.{kind}.failed")
    info = crew.find(beside)
    assert info is not None
    assert (info.counts.crashes, info.counts.tries) == (0, 0)
    died = {name: count for name, count in crew.exits(kind).items() if name in {"crash", "hung"}}
    assert died == exits
    crew.touch(f"{kind}-release")
    until(lambda: crew.find(beside) is None, "the neighbour to end")
