"""The guide as a test: every block of its code.

Good code runs on queued with no more than its import lines changed; bad code is noticed by
``queued check``. What is tried how stands in ``cases``.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from queued.drivers.base import QUEUE_PATTERN
from queued.environment import connection_from
from tests.practices import cases
from tests.practices.blocks import Part, parts
from tests.practices.cases import CASES, NO_MODULE, name_of
from tests.practices.conftest import PARTS, Stage
from tests.process.harness import PATIENCE, QUEUED, until

DOCUMENTED = {"no-failed", "no-handle"}
"""Good examples leave the methods out that they are not about."""
OTHER_LANGUAGES = {
    "5-bash": "test_a_worker_for_each_priority",
    "18-bash": "test_scaling",
    "19-ini": "test_a_process_manager",
    "22-bash": "test_a_worker_for_a_single_job",
}


def modules(*, good: bool) -> list[pytest.param]:
    chosen = [PARTS[name] for name in CASES if (PARTS[name].verdict != "bad") is good]
    return [pytest.param(part, id=part.id) for part in chosen]


def test_every_block_of_the_guide_is_tried() -> None:
    ids = [part.id for part in parts()]
    assert len(ids) == len(set(ids))
    assert set(ids) == {*CASES, *NO_MODULE, *OTHER_LANGUAGES}
    for test in [*NO_MODULE.values(), *OTHER_LANGUAGES.values()]:
        assert callable(globals()[test])


@pytest.mark.parametrize("part", modules(good=False))
def test_bad_code_is_noticed(report: Any, part: Part) -> None:
    found = rules(report, part)
    assert CASES[part.id].rules
    assert CASES[part.id].rules <= found
    classes = re.findall(r"^class (\w+)\(Job\)", part.text, re.MULTILINE)
    if part.id != "16-bad":  # its loop is in no class
        for name in classes:
            assert CASES[part.id].rules <= rules_of(report, f"app.{name_of(part)}.{name}")
    assert found <= CASES[part.id].rules | DOCUMENTED


@pytest.mark.parametrize("part", modules(good=True))
def test_good_code_is_not(report: Any, part: Part) -> None:
    assert rules(report, part) <= DOCUMENTED


@pytest.mark.parametrize("part", [one for one in modules(good=True) if CASES[one.id].run])
def test_good_code_runs(stage: Stage, part: Part) -> None:
    case = CASES[part.id]
    stage.run(part)
    stage.wait_for([list(call) for call in case.calls])
    for pattern in case.logged:
        until(lambda p=pattern: re.search(p, stage.daemon.output()), f"{pattern} in the log")
    if part.id == "2-good":
        import sqlite3

        with sqlite3.connect(stage.daemon.folder / "users.db") as users:
            assert users.execute("SELECT score FROM users").fetchall() == [(30,)]


@pytest.mark.parametrize(
    ("practice", "settings"),
    [
        (
            "3",
            {"QuickJob": (3, 30), "DataProcessingJob": (3, 300), "ReportGenerationJob": (3, 600)},
        ),
        ("5", {"CriticalAlertJob": (5, 60), "EmailJob": (3, 60), "CleanupJob": (1, 60)}),
        ("11", {"QuickAPICallJob": (2, 60), "ExternalAPIJob": (5, 60), "CriticalJob": (10, 60)}),
    ],
)
def test_settings_mean_what_they_meant(report: Any, practice: str, settings: Any) -> None:
    jobs = {job["name"]: job for job in report["jobs"]}
    for name, (max_tries, timeout) in settings.items():
        job = jobs[f"app.practice_{practice}.{name}"]
        assert (job["max_tries"], job["timeout"]) == (max_tries, timeout)


def test_queues_by_function() -> None:
    names = re.findall(r'^queue = "(.*)"$', PARTS["6"].text, re.MULTILINE)
    assert len(names) == 9
    assert all(QUEUE_PATTERN.fullmatch(name) for name in names)


def test_the_right_driver() -> None:
    lines = re.findall(r"^(\w+)=(\w+)$", PARTS["17"].text, re.MULTILINE)
    redis, database = ({name: value} for name, value in lines)
    url, source = connection_from({**redis, "REDIS_HOST": "h", "REDIS_PORT": "6380"}) or ("", "")
    assert url.startswith("redis://h:6380")
    assert "REDIS_HOST" in source or "QUEUE_CONNECTION" in source
    found = connection_from({**database, "DATABASE_URL": "postgresql://h/d"})
    assert found
    assert found[0] == "postgresql://h/d"


def test_jobs_in_isolation(tmp_path: Path) -> None:
    """The guide's test passes under pytest, with its job in a module of queued's."""
    jobs = tmp_path / "app" / "jobs"
    jobs.mkdir(parents=True)
    for package in (jobs, jobs.parent):
        (package / "__init__.py").touch()
    send = "async def send_email(*args): raise AssertionError\n"
    source = f"{cases.HEAD}{send}{cases.SEND_EMAIL_JOB}"
    (jobs / "send_email_job.py").write_text(source)
    head = "from unittest.mock import patch\nfrom app.jobs.send_email_job import SendEmailJob\n"
    (tmp_path / "test_it.py").write_text(head + PARTS["21"].text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def commands(part: str) -> list[list[str]]:
    """Return the commands of a part of the guide, with queued's own in place of RouteMQ's."""
    text = PARTS[part].text.replace("python main.py --queue-work", "queued work")
    return [shlex.split(line) for line in text.splitlines() if line and line[0] != "#"]


def test_a_worker_for_each_priority(tmp_path: Path) -> None:
    for number, command in enumerate(commands("5-bash")):
        queue = command[command.index("--queue") + 1]
        ran_by_a_worker(tmp_path / str(number), [*command[1:], "--max-jobs", "1"], queue)


def test_a_worker_for_a_single_job(tmp_path: Path) -> None:
    [command] = commands("22-bash")
    ran_by_a_worker(tmp_path / "one", command[1:], "default", fails=True)


def ran_by_a_worker(folder: Path, words: list[str], queue: str, *, fails: bool = False) -> None:
    """Dispatch a job, and let the given command run it: one try, then the worker ends."""
    folder.mkdir()
    body = "raise ValueError" if fails else "pass"
    (folder / "work.py").write_text(
        f"from queued import Job\nclass Count(Job):\n    def handle(self): {body}\n"
    )
    (folder / "queue.yaml").write_text(
        f"connection: sqlite:///q.db\nimports: [work]\nqueues: {{{queue}: {{}}}}\n"
    )
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("QUEUE", "REDIS_"))}
    clean["QUEUED_RUNTIME_DIR"] = str(folder / "run")

    def queued(*arguments: str) -> str:
        return subprocess.run(
            [QUEUED, *arguments],
            cwd=folder,
            env=clean,
            check=True,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        ).stdout

    queued("dispatch", "work.Count", "--queue", queue)
    queued(*words)
    failed = queued("failed", "list", "--json")
    assert ("work.Count" in failed) is fails


def test_scaling(stage: Stage) -> None:
    """Up and down by a command, in the guide's numbers; and the shipped compose file can do it."""
    import yaml

    orders = commands("18-bash")
    for order in orders:
        assert order[:-1] == ["docker", "compose", "up", "-d", "--scale"]
        queue, _, count = order[-1].removeprefix("queue-worker-").partition("=")
        stage.daemon.run("scale", queue, count)
        until(
            lambda queue=queue, count=count: len(stage.daemon.workers(queue)) == int(count),
            f"{count} workers of {queue}",
        )
    root = Path(__file__).resolve().parents[2]
    compose = yaml.safe_load((root / "examples/deploy/docker/compose.yaml").read_text())
    worker = compose["services"]["worker"]
    assert not {"container_name", "ports"} & worker.keys()  # what only one container can have


def test_a_process_manager() -> None:
    """The shipped example says what the guide's says; tests/process runs it under supervisord."""
    root = Path(__file__).resolve().parents[2]
    shipped = (root / "examples/deploy/supervisor/queued.conf").read_text()
    keys = re.findall(r"^(\w+)=", PARTS["19-ini"].text, re.MULTILINE)
    assert len(keys) == 5
    assert all(re.search(rf"^{key}=", shipped, re.MULTILINE) for key in keys)


def rules(report: Any, part: Part) -> set[str]:
    """Return the rules that are broken in a part's module."""
    file = f"/{name_of(part)}.py"
    return {one["rule"] for one in report["findings"] if str(one["file"]).endswith(file)}


def rules_of(report: Any, name: str) -> set[str]:
    [job] = [job for job in report["jobs"] if job["name"] == name]
    return {one["rule"] for one in job["checks"] if one["level"] in {"warning", "error"}}
