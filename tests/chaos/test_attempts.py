"""The ledger of a job's runs: errors, timeouts, crashes, releases and lost runs are kept apart.

What is not the job's own doing (a deploy, a reload, a stop, a neighbour's crash) burns no try.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.chaos.crew import Crew
from tests.process.harness import until

QUEUES = """
  default: {processes: 1, concurrency: 4, sleep: 60, kill_grace: 0.2, max_tries: 2, retry_after: 0}
"""
JOBS = """
class Long(Job):
    async def handle(self):
        note(self, "began")
        if self.attempts == 1:
            raise ValueError("the one error that it may have")
        await until("release")
        note(self, "done")

class Dies(Job):
    async def handle(self):
        if self.attempts == 1:
            os.kill(os.getpid(), signal.SIGKILL)

class Fails(Job):
    timeout = 0.3
    max_tries = 3
    async def handle(self):
        note(self, "began")
        match self.attempts:
            case 1:
                await asyncio.sleep(3600)
            case 2:
                time.sleep(3600)
            case 3:
                os.kill(os.getpid(), signal.SIGKILL)
        raise ValueError("wrong")
"""


def shown(crew: Crew, job_id: str) -> dict[str, Any]:
    """Return what people are shown of a job."""
    found: dict[str, Any] = json.loads(crew.run("job", job_id, "--json").stdout)
    return found


def outcomes(job: dict[str, Any]) -> list[str]:
    return [note["outcome"] for note in job["history"]]


def test_neither_deploys_nor_neighbours_burn_a_try(make_crew: Callable[[str, str], Crew]) -> None:
    """With two tries, of which an error has taken one, any other charge would fail the job."""
    crew = make_crew(QUEUES, JOBS).start()
    [job_id] = crew.push("Long", "default")
    crew.until_lines("Long-began", 2)
    crew.run("restart")
    crew.until_lines("Long-began", 3)
    text = crew.config.read_text()
    crew.config.write_text(text.replace("concurrency: 4", "concurrency: 5"))
    crew.run("reload")
    crew.until_lines("Long-began", 4)
    assert crew.stop() == 0
    crew.start()
    crew.until_lines("Long-began", 5)
    crew.push("Dies", "default")
    crew.until_lines("Long-began", 6)

    job = shown(crew, job_id)
    assert job["counts"] == {
        "tries": 1,
        "runs": 5,
        "errors": 1,
        "timeouts": 0,
        "crashes": 0,
        "lost": 1,
        "releases": 3,
        "suspicion": 1,
    }
    assert outcomes(job) == ["retried", "released", "released", "released", "lost"]
    crew.touch("release")
    crew.until_lines("Long-done")
    until(lambda: crew.find(job_id) is None, "it to be done")


def test_each_kind_of_end_is_counted_apart(make_crew: Callable[[str, str], Crew]) -> None:
    """Cancelled in time, killed for its time, died, raised: three of them are tries."""
    crew = make_crew(QUEUES, JOBS).start()
    [job_id] = crew.push("Fails", "default")
    failed, record = crew.failure("default")
    assert failed.id == job_id
    assert record["reason"] == "max_tries"
    job = shown(crew, job_id)
    counts = job["counts"]
    assert (counts["errors"], counts["timeouts"], counts["crashes"]) == (1, 2, 1)
    assert (counts["tries"], counts["runs"]) == (3, 4)
    assert outcomes(job) == ["timed_out", "timed_out", "lost", "failed"]
    assert [note["run"] for note in job["history"]] == [1, 2, 3, 4]
    until(lambda: crew.exits("default"), "its workers to be counted")
    assert crew.exits("default")["hung"] == crew.exits("default")["signal"] == 1
