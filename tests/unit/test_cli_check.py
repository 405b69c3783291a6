"""check and schema."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from queued.cli.exits import Exit
from queued.config.json_schema import json_schema
from tests.unit.commands import Application, application

app = pytest.fixture(application)


def test_a_good_application(app: Application) -> None:
    answer = app("check")
    assert answer.code == Exit.OK
    assert "warning" not in answer.out
    lines = answer.out.splitlines()
    assert lines[1].split() == [app.job("Nightly"), "default", "7", "1m"]
    assert lines[2].split() == [app.job("SendEmail"), "emails", "3", "30s"]
    assert lines[-1] == "queue.yaml: ok, 2 queues, 2 jobs"
    report = app("check", "--json").json
    assert report["ok"] is True
    assert report["problems"] == report["warnings"] == []
    assert report["queues"] == ["default", "emails"]
    assert report["jobs"][1] == {
        "name": app.job("SendEmail"),
        "queue": "emails",
        "max_tries": 3,
        "timeout": 30,
    }


def test_the_shipped_queue_yaml(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    queued = Path(sys.executable).with_name("queued")
    clean = {key: value for key, value in os.environ.items() if not key.startswith("QUEUE")}
    answer = subprocess.run(
        [queued, "check", "-c", root / "queue.yaml"],
        cwd=tmp_path,
        env=clean,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "warning" not in answer.stdout
    assert "queue.yaml: ok, 5 queues" in answer.stdout


def test_every_problem_at_once(app: Application) -> None:
    app.configure("queues:\n  a: {proceses: 1}\n  b: {sleep: x}\nlog: {level: loud}\n")
    answer = app("check")
    assert answer.code == Exit.PROBLEM
    assert [line[:12] for line in answer.out.splitlines()] == [
        "queue.yaml:2",
        "queue.yaml:3",
        "queue.yaml:4",
        "queue.yaml: ",
    ]
    assert answer.out.endswith("queue.yaml: 3 problems\n")
    report = app("check", "--json")
    assert report.code == Exit.PROBLEM
    assert report.json["ok"] is False
    assert len(report.json["problems"]) == 3


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("import nonsuch", "No module named 'nonsuch'"),
        ("x = 1\nx.y\n", "py:2: AttributeError"),
        ("def f(:\n", "py:1: SyntaxError"),
        ("import sys; sys.exit(3)", "ends the program when it is imported"),
        ("from queued import Job\nclass A(Job):\n    job_id: int\n", "job_id"),
    ],
)
def test_a_module_that_cannot_be_imported(app: Application, source: str, problem: str) -> None:
    (app.folder / f"{app.module}.py").write_text(source)
    answer = app("check")
    assert answer.code == Exit.PROBLEM
    assert problem in answer.out
    assert "Traceback" not in answer.out + answer.err
    assert answer.out.endswith("queue.yaml: 1 problem\n")


def test_every_module_that_cannot_be_imported(app: Application) -> None:
    app.configure("imports: [nonsuch.one, nonsuch.two]\nqueues: {default: }")
    assert len(app("check", "--json").json["problems"]) == 2


def test_queues_and_jobs_that_do_not_meet(app: Application) -> None:
    app.configure(f"imports: [{app.module}]\nqueues: {{default: , email: }}")
    answer = app("check")
    assert answer.code == Exit.OK
    assert f"no pool serves the queue emails: {app.job('SendEmail')} would wait" in answer.out
    assert "warning: queue.yaml: queues.email: no job names this queue" in answer.out


def test_warnings_are_no_errors(app: Application) -> None:
    app.configure(f"imports: [{app.module}]\nqueues: {{default: {{timeout: 1h}}, emails: }}")
    answer = app("check")
    assert answer.code == Exit.OK
    assert "warning: queue.yaml:2: queues.default.timeout: 1h is over 10m" in answer.out


def test_a_missing_file(app: Application) -> None:
    answer = app("check", "-c", "gone.yaml")
    assert answer.code == Exit.PROBLEM
    assert "gone.yaml: no such file; create one" in answer.out


def test_the_configuration_of_the_environment(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    (app.folder / "queue.yaml").rename(app.folder / "other.yaml")
    monkeypatch.setenv("QUEUED_CONFIG", "other.yaml")
    assert app("check").out.endswith("other.yaml: ok, 2 queues, 2 jobs\n")


def test_the_schema(app: Application) -> None:
    answer = app("schema")
    assert answer.code == Exit.OK
    assert json.loads(answer.out) == json_schema()
