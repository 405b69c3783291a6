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


GOOD = """
from queued import Job

class SendEmail(Job):
    queue = "emails"
    timeout = 30
    to: str
    async def handle(self): ...
    async def failed(self, exception): ...

class RotateLogs(Job):
    max_tries = 7
    def handle(self): ...
    def failed(self, exception): ...
"""
BAD = """
import time
from queued import Job

class SendEmail(Job):
    timeout = 30
    password: str
    async def handle(self):
        time.sleep(1)
    async def failed(self, exception): ...
"""


@pytest.fixture
def good(app: Application) -> Application:
    (app.folder / f"{app.module}.py").write_text(GOOD)
    queues = "{default: , emails: }"
    app.configure(f"imports: [{app.module}]\ndefaults: {{timeout: 60}}\nqueues: {queues}")
    return app


@pytest.fixture
def bad(app: Application) -> Application:
    (app.folder / f"{app.module}.py").write_text(BAD)
    app.configure(f"imports: [{app.module}]\nqueues: {{default: }}")
    return app


def test_a_good_application(good: Application) -> None:
    app = good
    answer = app("check")
    assert answer.code == Exit.OK
    assert "warning" not in answer.out
    lines = answer.out.splitlines()
    assert lines[1].split() == [app.job("RotateLogs"), "default", "7", "1m", "ok"]
    assert lines[2].split() == [app.job("SendEmail"), "emails", "3", "30s", "ok"]
    assert lines[-1] == "queue.yaml: ok, 2 queues, 2 jobs"
    report = app("check", "--json").json
    assert report["ok"] is True
    assert report["problems"] == report["warnings"] == []
    assert report["queues"] == ["default", "emails"]
    job = report["jobs"][1]
    assert {one["level"] for one in job.pop("checks")} == {"pass"}
    assert job == {
        "name": app.job("SendEmail"),
        "queue": "emails",
        "max_tries": 3,
        "timeout": 30,
        "file": f"{app.folder}/{app.module}.py",
        "line": 4,
    }
    assert app("check", "--strict").code == Exit.OK
    assert app("check", "--format", "github").out == ""


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
    first, second = app("check", "--json").json["problems"]
    assert first.startswith('queue.yaml:1: imports: no module "nonsuch')
    assert second.startswith('queue.yaml:1: imports: no module "nonsuch')


def test_a_function_of_tracing_that_is_missing_is_told_by_its_line(app: Application) -> None:
    app.configure(f"tracing: {app.module}.set_up\nqueues: {{default: }}")
    problem = app("check", "--json").json["problems"][0]
    assert problem == f'queue.yaml:1: tracing: {app.module} has no function "set_up"'


def test_queues_and_jobs_that_do_not_meet(app: Application) -> None:
    app.configure(f"imports: [{app.module}]\nqueues: {{default: , email: }}")
    answer = app("check", "--no-practices")
    assert answer.code == Exit.OK
    assert f"no pool serves the queue emails: {app.job('SendEmail')} would wait" in answer.out
    assert "warning: queue.yaml:2: queues.email: no job names this queue" in answer.out


def test_a_class_that_does_nothing(app: Application) -> None:
    source = """
from queued import Job
class Base(Job):
    timeout = 30
class SendEmail(Base):
    def handle(self): ...
class SendText(Base):
    def handel(self): ...
"""
    (app.folder / f"{app.module}.py").write_text(source)
    app.configure(f"imports: [{app.module}]\nqueues: {{default: }}")
    answer = app("check", "--no-practices")
    assert answer.code == Exit.OK
    assert f"{app.module}.py:7: {app.job('SendText')} has no handle()" in answer.out
    assert answer.out.count("has no handle()") == 1


def test_warnings_are_no_errors(app: Application) -> None:
    app.configure(f"imports: [{app.module}]\nqueues: {{default: {{timeout: 1h}}, emails: }}")
    answer = app("check", "--no-practices")
    assert answer.code == Exit.OK
    assert "warning: queue.yaml:2: queues.default.timeout: 1h is over 10m" in answer.out


def test_a_missing_file(app: Application) -> None:
    answer = app("check", "-c", "gone.yaml")
    assert answer.code == Exit.PROBLEM
    assert "gone.yaml: no such file; create one" in answer.out


def test_the_configuration_of_the_environment(
    good: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = good
    (app.folder / "queue.yaml").rename(app.folder / "other.yaml")
    monkeypatch.setenv("QUEUED_CONFIG", "other.yaml")
    assert app("check").out.endswith("other.yaml: ok, 2 queues, 2 jobs\n")


def test_the_schema(app: Application) -> None:
    answer = app("schema")
    assert answer.code == Exit.OK
    assert json.loads(answer.out) == json_schema()


def test_practices_for_people(bad: Application) -> None:
    answer = bad("check")
    assert answer.code == Exit.PROBLEM
    lines = answer.out.splitlines()
    file = f"{bad.module}.py"
    assert lines[0].startswith(f"error: {file}:7: SendEmail.password looks like a secret")
    assert lines[0].endswith("[secret-field]")
    assert lines[1].startswith("  instead: store an id")
    assert lines[2].startswith(f"warning: {file}:9: SendEmail.handle calls time.sleep")
    assert lines[3] == "  instead: await asyncio.sleep(...)"
    assert lines[-2].split()[-4:] == ["1", "error,", "1", "warning"]
    assert lines[-1] == "queue.yaml: 1 problem, 1 warning"


def test_practices_for_programs(bad: Application) -> None:
    report = bad("check", "--json").json
    assert report == bad("check", "--format", "json").json
    assert report["ok"] is False
    [problem], [warning] = report["problems"], report["warnings"]
    assert problem.startswith(f"{bad.module}.py:7: SendEmail.password")
    assert "[blocking-call]" in warning
    [job] = report["jobs"]
    checks = {one["rule"]: one for one in job["checks"]}
    assert len(checks) == len(job["checks"])
    assert checks["no-failed"]["level"] == "pass"
    assert checks["blocking-call"] == {
        "rule": "blocking-call",
        "level": "warning",
        "practice": "a",
        "reason": checks["blocking-call"]["reason"],
        "fix": "await asyncio.sleep(...)",
        "file": f"{bad.folder}/{bad.module}.py",
        "line": 9,
    }
    assert checks["blocking-call"] in report["findings"]


def test_practices_for_a_workflow(bad: Application) -> None:
    answer = bad("check", "--format", "github")
    assert answer.code == Exit.PROBLEM
    error, warning = answer.out.splitlines()
    assert error.startswith(f"::error file={bad.module}.py,line=7,title=secret-field::SendEmail.p")
    assert warning.startswith(f"::warning file={bad.module}.py,line=9,title=blocking-call::")
    bad.configure("queues: {default: {sleep: x%}}\n")
    [line] = bad("check", "--format", "github").out.splitlines()
    assert line.startswith("::error file=queue.yaml,line=1,title=config::queues.default.sleep: ")
    assert "x%25" in line
    (bad.folder / "queue.yaml").unlink()
    assert bad("check", "--format", "github").out.startswith("::error title=config::queue.yaml: no")


def test_no_practices_leaves_what_keeps_the_daemon_from_working(bad: Application) -> None:
    answer = bad("check", "--no-practices")
    assert answer.code == Exit.OK
    lines = answer.out.splitlines()
    assert lines[0].split() == ["job", "queue", "max_tries", "timeout"]
    assert lines[-1] == "queue.yaml: ok, 1 queue, 1 job"


def test_strict(bad: Application) -> None:
    path = bad.folder / f"{bad.module}.py"
    path.write_text(BAD.replace("password", "user"))
    answer = bad("check")
    assert answer.code == Exit.OK
    assert answer.out.endswith("queue.yaml: ok, 1 queue, 1 job, 1 warning\n")
    strict = bad("check", "--strict")
    assert strict.code == Exit.PROBLEM
    assert strict.out.endswith("queue.yaml: 1 warning, and --strict lets none pass\n")
    assert bad("check", "--strict", "--json").json["ok"] is False
    assert bad("check", "--strict", "--no-practices").code == Exit.OK


def test_ignored_rules(bad: Application) -> None:
    path = bad.folder / f"{bad.module}.py"
    ignored = BAD.replace("(Job):", "(Job):  # queued: ignore[secret-field, blocking-call]")
    path.write_text(ignored)
    bad.configure(
        f"imports: [{bad.module}]\nqueues:\n  default:\n  spare:  # queued: ignore[idle-pool]\n"
    )
    answer = bad("check", "--strict")
    assert answer.code == Exit.OK
    assert answer.out.endswith("queue.yaml: ok, 2 queues, 1 job\n")


def test_a_field_without_json_is_told_once(app: Application) -> None:
    source = "from queued import Job\nclass Link: ...\nclass Greet(Job):\n    link: Link\n"
    (app.folder / f"{app.module}.py").write_text(source)
    app.configure(f"imports: [{app.module}]\ndefaults: {{timeout: 60}}\nqueues: {{default: }}")
    answer = app("check")
    assert answer.code == Exit.PROBLEM
    assert answer.out.count("a field has a type that has no JSON") == 1
    assert "[unserialisable-field]" in answer.out
    assert len(app("check", "--json").json["problems"]) == 1
    bare = app("check", "--no-practices")
    assert bare.code == Exit.PROBLEM
    assert "a field has a type that has no JSON" in bare.out


@pytest.mark.parametrize(
    ("kind", "stop", "is_found"),
    [("simple", "30s", True), ("exec", "1min 30s", False), ("notify", "30s", False),
     ("simple", "infinity", False)],
)  # fmt: skip
def test_a_service_manager_that_is_impatient(
    good: Application, monkeypatch: pytest.MonkeyPatch, kind: str, stop: str, is_found: bool
) -> None:
    """What `systemctl show` prints is that of a real one; which unit it is about is our own."""
    start = f"{{ path=/opt/queued ; argv[]=/opt/queued start -c {good.folder}/queue.yaml ; }}"
    shown = f"Type={kind}\nExecStart={start}\nTimeoutStopUSec={stop}\nId=queued.service\n"
    other = "\nType=simple\nExecStart={ path=/bin/x }\nTimeoutStopUSec=1s\nId=queued-x.service\n"
    (good.folder / "shown").write_text(shown + other)
    systemctl = good.folder / "bin" / "systemctl"
    systemctl.parent.mkdir()
    systemctl.write_text(f"#!/bin/sh\nexec cat {good.folder}/shown\n")
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{systemctl.parent}:{os.environ['PATH']}")
    answer = good("check")
    assert answer.code == Exit.OK
    assert ("[stop-timeout]" in answer.out) is is_found
    if is_found:
        assert "queued.service: systemd kills the daemon 30s after it is told to stop" in answer.out
    systemctl.write_text("#!/bin/sh\nexit 1\n")
    assert "stop-timeout" not in good("check").out
