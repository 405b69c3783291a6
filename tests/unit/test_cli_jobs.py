"""job, cancel, purge, and the back-end of every command: over a real SQLite file."""

from __future__ import annotations

import asyncio
import io

import pytest
from rich.console import Console

from queued.cli import output
from queued.cli.exits import Exit
from queued.drivers.base import Driver, NewJob
from tests.unit.commands import UNREACHABLE, Application, application
from tests.unit.failing import DOSSIER, NOTE, RECORD, WHOLE, fail_jobs, with_driver

app = pytest.fixture(application)


def test_job_shows_all_that_is_known(app: Application) -> None:
    fail_jobs(app.url, "emails", "one")
    answer = app("job", "one")
    assert answer.code == Exit.OK
    for text in (
        "one",
        "app.SendEmail",
        "emails",
        "failed",
        "ValueError",
        "jobs.py",
        "1 (error 1)",
    ):
        assert text in answer.out
    assert "hunter2" not in answer.out
    assert "\x1b" not in answer.out
    found = app("job", "one", "--json")
    assert "hunter2" not in found.out
    assert found.json["failed"]["record"] == RECORD
    assert found.json["history"] == [NOTE]
    assert found.json["counts"]["tries"] == 1


@pytest.mark.parametrize("command", ["job", "cancel"])
def test_a_job_that_is_not_there(app: Application, command: str) -> None:
    app("dispatch", app.job("Nightly"))
    assert "no job 'gone'" in app(command, "gone").refused(Exit.PROBLEM)
    assert "no job 'gone' in emails" in app(command, "gone", "--queue", "emails").refused(1)


@pytest.mark.parametrize("command", ["job", "cancel"])
@pytest.mark.parametrize("wrong", ["a b", ":abc", "\udcff", "x" * 65, ""])
def test_what_can_be_no_id(app: Application, command: str, wrong: str) -> None:
    assert "is no id" in app(command, wrong).refused(Exit.USAGE)


def test_cancel_removes_what_waits(app: Application) -> None:
    app("dispatch", app.job("Nightly"), "--id", "soon")
    app("dispatch", app.job("Nightly"), "--id", "later", "--delay", "1h")
    assert app("cancel", "soon").out == "soon was ready in default, and is removed\n"
    answer = app("cancel", "later", "--json").json
    assert answer == {"id": "later", "queue": "default", "was": "scheduled"}
    app("cancel", "soon").refused(Exit.PROBLEM)


def test_cancel_refuses_what_runs_or_has_failed(app: Application) -> None:
    async def reserve(driver: Driver) -> None:
        await driver.enqueue("emails", [NewJob("running", b"{}\n{}")])
        await driver.exchange("emails", "somebody", want=1, nonce=1)

    asyncio.run(with_driver(app.url, reserve))
    assert "is running" in app("cancel", "running").refused(Exit.PROBLEM)
    fail_jobs(app.url, "emails", "bad")
    assert "queued failed forget bad" in app("cancel", "bad").refused(Exit.PROBLEM)


def test_purge(app: Application) -> None:
    for number in range(3):
        app("dispatch", app.job("Nightly"), "--id", f"n{number}")
    app("dispatch", app.job("Nightly"), "--delay", "1h")
    assert 'did you mean "default"?' in app("purge", "defualt").refused(Exit.PROBLEM)
    assert app("purge", "default", "--yes", "--json").json == {"queue": "default", "removed": 4}
    assert app("purge", "default").out == "0 jobs removed from default\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "left"), [("y\n", 0), ("n\n", 1), ("\n", 1), ("", 1)])
def test_at_a_terminal_it_is_asked_first(
    app: Application, monkeypatch: pytest.MonkeyPatch, answer: str, left: int
) -> None:
    fail_jobs(app.url, "emails", "bad")
    app("dispatch", app.job("Nightly"))
    for command in (("purge", "default"), ("failed", "flush")):
        monkeypatch.setattr("sys.stdin", Terminal(answer))
        said = app(*command)
        assert "[y/N]" in said.err
        assert (said.code == Exit.OK) is (left == 0)
    monkeypatch.undo()
    monkeypatch.chdir(app.folder)
    assert len(app("failed", "list", "--json").json) == left
    assert app("purge", "default", "--yes", "--json").json["removed"] == left


@pytest.mark.parametrize(
    "command", [["job", "x"], ["cancel", "x"], ["failed", "list"], ["purge", "emails", "--yes"]]
)
def test_to_look_at_a_mistyped_path_makes_no_database(app: Application, command: list[str]) -> None:
    line = app(*command, "--connection", "sqlite:///typo/q.db").refused(Exit.PROBLEM)
    assert "typo/q.db: no such database" in line
    assert not (app.folder / "typo").exists()


def test_how_the_worker_of_a_failed_job_ended(app: Application) -> None:
    fail_jobs(app.url, "emails", "bad", record=RECORD | {"dossier": WHOLE})
    text = app("failed", "show", "bad").out
    assert (
        "worker emails/2 on host h1 was killed by SIGSEGV 0.3 s after the job's start, run 3; "
        "peak memory 212 MiB of 1 GiB; killed by the kernel for memory: no\n"
    ) in text
    assert '  Current thread 0x1:\n    File "jobs.py\\x1b[31m", line 3 in handle\n' in text
    assert "  T  info  x  n=1  text=a\\x1b[31mb\n" in text
    assert "  plain \\x1b[31mline\n" in text
    assert "\x1b" not in text
    assert text.index("last log lines") < text.index("run  ended")
    assert app("failed", "show", "bad", "--json").json["record"]["dossier"] == WHOLE


def test_how_the_worker_of_a_job_ended_that_waits_again(app: Application) -> None:
    lost = NOTE | {"worker": "emails/2", "dossier": DOSSIER}
    fail_jobs(app.url, "emails", "mine", note=lost, lost=True)
    text = app("job", "mine").out
    assert (
        "worker emails/2 on host h1 was killed by SIGSEGV 0.3 s after the job's start, run 1"
        in text
    )
    assert "line 3 in handle" in text
    assert app("job", "mine", "--json").json["history"] == [lost]


@pytest.mark.parametrize(
    "arguments",
    [
        ["job", "x"],
        ["cancel", "x"],
        ["purge", "x"],
        ["failed", "list"],
        ["failed", "show", "x"],
        ["failed", "retry", "x"],
        ["failed", "forget", "x"],
        ["failed", "flush"],
    ],
    ids=" ".join,
)
def test_a_back_end_that_is_away(app: Application, arguments: list[str]) -> None:
    line = app(*arguments, "--connection", UNREACHABLE).refused(Exit.UNAVAILABLE)
    assert "127.0.0.1:1" in line
    assert "hunter2" not in line


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--connection", "oracle://x"], 'no driver for "oracle://"'),
        (["--connection", "hunter2"], "expected a URL such as"),
        (["-c", "gone.yaml"], "gone.yaml: no such file; name another with -c, or a back-end with"),
    ],
)
def test_a_wrong_back_end(app: Application, arguments: list[str], complaint: str) -> None:
    line = app("job", "x", *arguments).refused(Exit.CONFIG)
    assert complaint in line
    assert "hunter2" not in line


def test_the_back_end_is_found_as_the_daemon_finds_it(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUEUE_CONNECTION", f"sqlite:///{app.folder}/other.db")
    app("dispatch", app.job("Nightly"), "--id", "mine")
    assert (app.folder / "other.db").exists()
    (app.folder / "queue.yaml").rename(app.folder / "elsewhere.yaml")
    assert app("job", "mine").code == Exit.OK
    monkeypatch.delenv("QUEUE_CONNECTION")
    monkeypatch.setenv("QUEUED_CONFIG", "elsewhere.yaml")
    assert f"{app.folder}/queued.db" in app("job", "mine").refused(Exit.PROBLEM)
    assert app("job", "mine", "--connection", "sqlite:///other.db").code == Exit.OK


@pytest.mark.parametrize("width", [40, 120])
def test_an_id_is_whole_on_a_narrow_terminal(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "console", lambda: Console(width=width))
    job_id, error = "019ab1c2-3d4e-7f00-8a1b-2c3d4e5f6a7b", "ValueError: no such address"
    output.print_table(("id", "error"), [(job_id, error)], below=1)
    beside = [f"{'id':36}  error", f"{job_id}  {error}"]
    assert capsys.readouterr().out.splitlines() == (
        beside if width > 100 else ["id", job_id, f"    {error}"]
    )
    output.print_table(("kind", "id", "error"), [("1", job_id, error)], below=2)
    beside = [f"kind  {'id':36}  error", f"1     {job_id}  {error}"]
    assert capsys.readouterr().out.splitlines() == (
        beside if width > 100 else ["kind", "1", f"    {job_id}  {error}"]
    )
