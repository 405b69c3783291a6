"""``sleep`` bounds an idle worker's wait; a push ends it. No test here measures time: the queue's
``sleep`` is far longer than the test's patience, so a job that runs at all was woken for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.process.harness import Daemon, until

JOBS = """
from pathlib import Path
from queued import Job

class Touch(Job):
    path: str
    async def handle(self):
        Path(self.path).touch()
"""

CONFIG = """
connection: "{connection}"
imports: [work]
http: {{listen: "127.0.0.1:0"}}
queues:
  default: {{processes: 2, sleep: 600}}
"""


def touch(running: Daemon, path: Path, *arguments: str) -> None:
    running.run("dispatch", "work.Touch", f'{{"path": "{path}"}}', *arguments)


def test_a_push_wakes_an_idle_worker(
    connection: str, daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    running = daemon(CONFIG.format(connection=connection), jobs=JOBS).start()
    for number in range(5):
        path = tmp_path / f"touched{number}"
        touch(running, path)
        until(path.exists, "the pushed job to run", 30)


def test_a_delayed_job_runs_when_it_is_due(
    connection: str, daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    running = daemon(CONFIG.format(connection=connection), jobs=JOBS).start()
    late, soon = tmp_path / "late", tmp_path / "soon"
    touch(running, late, "--delay", "2")
    touch(running, soon, "--delay", "1")
    until(soon.exists, "the job that is due first", 30)
    until(late.exists, "the job that is due later", 30)


@pytest.mark.parametrize("polling", ["true", "false"])
def test_a_plain_poll_finds_the_job_within_its_sleep(
    polling: str, connection: str, daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    config = CONFIG.format(connection=connection).replace(
        "sleep: 600", f"sleep: 0.2, polling: {polling}"
    )
    running = daemon(config, jobs=JOBS).start()
    touch(running, tmp_path / "polled")
    until((tmp_path / "polled").exists, "the polled job", 30)
