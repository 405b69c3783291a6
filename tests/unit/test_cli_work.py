"""work: one worker as a process of its own, over a real SQLite file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from queued.cli.exits import Exit
from queued.cli.work import blueprint
from queued.config.load import load
from tests.unit.commands import Application, application

app = pytest.fixture(application)

QUEUED = Path(sys.executable).with_name("queued")
JOBS = """
from pathlib import Path
from queued import Job

class Touch(Job):
    path: str
    async def handle(self):
        Path(self.path).touch()

class Fails(Job):
    max_tries = 9
    retry_after = 3600
    def handle(self):
        raise ValueError("always")
"""


def work(app: Application, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a worker until it ends by itself."""
    return subprocess.run(
        [QUEUED, "work", *arguments],
        cwd=app.folder,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )


@pytest.fixture
def jobs(app: Application) -> None:
    (app.folder / f"{app.module}.py").write_text(JOBS)


@pytest.mark.usefixtures("jobs")
def test_a_worker_runs_what_waits_and_ends(app: Application) -> None:
    paths = [app.folder / f"touched{number}" for number in range(2)]
    for path in paths:
        app("dispatch", app.job("Touch"), f'{{"path": "{path}"}}')
    done = work(app, "--max-jobs", "2", "--sleep", "0.1")
    assert done.returncode == Exit.OK, done
    assert "Traceback" not in done.stderr
    assert all(path.exists() for path in paths)


@pytest.mark.usefixtures("jobs")
def test_max_tries_wins_over_the_job(app: Application) -> None:
    app("dispatch", app.job("Fails"), "--id", "bad")
    done = work(app, "--max-jobs", "1", "--max-tries", "1")
    assert done.returncode == Exit.OK, done
    assert app("job", "bad", "--json").json["state"] == "failed"


@pytest.mark.usefixtures("jobs")
def test_its_rate_limit_wins_over_the_queues(app: Application) -> None:
    app.configure(f"imports: [{app.module}]\nqueues: {{default: {{rate_limit: 100/s}}}}")
    for number in range(3):
        app("dispatch", app.job("Touch"), f'{{"path": "{app.folder / f"touched{number}"}"}}')
    done = work(app, "--max-jobs", "1", "--rate-limit", "1/1d")
    assert done.returncode == Exit.OK, done
    assert len([*app.folder.glob("touched*")]) == 1
    done = work(app, "--max-time", "1s", "--rate-limit", "1/1d")
    assert done.returncode == Exit.OK, done
    assert len([*app.folder.glob("touched*")]) == 1
    done = work(app, "--max-jobs", "2")
    assert done.returncode == Exit.OK, done
    assert len([*app.folder.glob("touched*")]) == 3


@pytest.mark.usefixtures("jobs")
def test_a_worker_needs_no_queue_yaml(app: Application) -> None:
    path = app.folder / "touched"
    app("dispatch", app.job("Touch"), f'{{"path": "{path}"}}', "--queue", "emails")
    (app.folder / "queue.yaml").unlink()
    arguments = ["--queue", "emails", "--max-jobs", "1", "--import", app.module]
    done = work(app, *arguments, QUEUE_CONNECTION="sqlite:///queued.db")
    assert done.returncode == Exit.OK, done
    assert path.exists()
    assert "knows no job" not in done.stderr
    done = work(app, "--queue", "idle", "--max-time", "0.1s")
    assert "warning: queue.yaml: no such file, so this worker knows no job" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["--queue", "a b"], Exit.USAGE, "--queue: expected a queue's name"),
        (["--concurrency", "0"], Exit.USAGE, "0 is not in the range"),
        (["--max-tries", "0"], Exit.USAGE, "0 is not in the range"),
        (["--max-jobs", "-1"], Exit.USAGE, "-1 is not in the range"),
        (["--sleep", "soon"], Exit.USAGE, "expected a duration"),
        (["--rate-limit", "soon"], Exit.USAGE, "expected a rate such as 100/1m or 5/s"),
        (["--rate-limit", "0/1m"], Exit.USAGE, "expected 1 to 1000000 jobs"),
        (["--import", "nonsuch"], Exit.CONFIG, 'no module "nonsuch"'),
        (["--import", "a/b.py"], Exit.CONFIG, "is no name of a module"),
        (["-c", "gone.yaml"], Exit.CONFIG, "gone.yaml: no such file"),
        (["--connection", "oracle://x"], Exit.CONFIG, "--connection: no driver for oracle://"),
    ],
)
def test_a_wrong_command_line(
    app: Application, arguments: list[str], code: Exit, complaint: str
) -> None:
    assert complaint in app("work", *arguments).refused(code)


def settings_of(app: Application, text: str, queue: str) -> Any:
    app.configure(text)
    return blueprint(load(app.folder / "queue.yaml", {}), queue)


def test_the_settings_are_those_of_the_queue(app: Application) -> None:
    text = "defaults: {sleep: 7}\nqueues: {emails: {concurrency: 3, env: {A: b}, max_tries: 2}}"
    spec = settings_of(app, text, "emails")
    assert (spec.pool, spec.sleep, spec.concurrency, spec.env) == ("emails", 7.0, 3, {"A": "b"})
    assert spec.limits.max_tries == 2
    other = settings_of(app, text, "other")
    assert (other.pool, other.sleep, other.concurrency, other.env) == ("other", 7.0, 10, {})
