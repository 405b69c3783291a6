"""pause, resume: over a real SQLite file."""

from __future__ import annotations

import time

import pytest

from queued.cli.exits import Exit
from queued.environment import who
from tests.unit.commands import Application, application

app = pytest.fixture(application)

UNREACHABLE = "redis://:hunter2@127.0.0.1:1/0"


@pytest.fixture(autouse=True)
def a_job(app: Application) -> None:
    app("dispatch", app.job("SendEmail"), '{"to": "a@b.c"}')


def test_it_says_what_waits_and_since_when(app: Application) -> None:
    answer = app("pause", "emails", "--reason", "the mail server is down")
    assert (answer.code, answer.err) == (Exit.OK, "")
    assert answer.out == "emails is paused: 1 job waits, 0 run\n"
    again = app("pause", "emails")
    assert again.code == Exit.OK
    assert again.out.startswith("emails is paused since ")
    assert again.out.endswith(": 1 job waits, 0 run\n")


def test_resume_says_whether_there_was_a_pause(app: Application) -> None:
    app("pause", "emails")
    answer = app("resume", "emails")
    assert (answer.code, answer.err) == (Exit.OK, "")
    assert answer.out == "emails goes on: 1 job waits, 0 run\n"
    assert app("resume", "emails").out == "emails was not paused: 1 job waits, 0 run\n"


def test_as_json(app: Application) -> None:
    before = time.time()
    [paused] = app("pause", "emails", "--reason", "the\nmail server", "--json").json
    since = paused["paused"].pop("since")
    assert before - 1 <= since <= time.time() + 1
    assert paused == {
        "queue": "emails",
        "changed": True,
        "paused": {"by": who(), "reason": "the\\nmail server"},
    }
    [again] = app("pause", "emails", "--json").json
    assert not again["changed"]
    assert again["paused"] == {"by": who(), "reason": "", "since": since}
    assert app("resume", "emails", "--json").json == [
        {"queue": "emails", "changed": True, "paused": None}
    ]
    assert app("resume", "emails", "--json").json == [
        {"queue": "emails", "changed": False, "paused": None}
    ]


def test_several_queues_at_once(app: Application) -> None:
    """One of queue.yaml is known before its first job."""
    out = app("pause", "emails", "default").out.splitlines()
    assert out == ["emails is paused: 1 job waits, 0 run", "default is paused: 0 jobs wait, 0 run"]
    assert [one["changed"] for one in app("resume", "default", "emails", "--json").json] == [
        True,
        True,
    ]


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_a_name_that_nobody_knows_changes_nothing(app: Application, command: str) -> None:
    app("pause", "default")
    line = app(command, "emails", "emials").refused(Exit.PROBLEM)
    assert line == (
        "queued: there is no queue 'emials': nothing was changed; did you mean \"emails\"?\n"
    )
    line = app(command, "xyzzy").refused(Exit.PROBLEM)
    assert line.endswith(": nothing was changed; known are default, emails\n")
    assert app("resume", "emails").out.startswith("emails was not paused")
    assert app("resume", "default").out.startswith("default goes on")


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_wrong_command_lines(app: Application, command: str) -> None:
    assert "missing argument 'QUEUE...'" in app(command).refused(Exit.USAGE)
    assert "'a b' is no queue's name" in app(command, "a b").refused(Exit.USAGE)
    line = app(command, "emails", "--connection", UNREACHABLE).refused(Exit.UNAVAILABLE)
    assert "127.0.0.1:1" in line
    assert "hunter2" not in line
    line = app(command, "emails", "--connection", "oracle://x").refused(Exit.CONFIG)
    assert 'no driver for "oracle://"' in line


def test_what_was_not_taken_yet_is_told_by_why(app: Application) -> None:
    """Nobody serves it: what is paused is said first all the same."""
    app("pause", "emails", "--reason", "the mail server is down")
    app("purge", "emails", "--yes")
    app("dispatch", app.job("SendEmail"), '{"to": "a@b.c"}', "--delay", "1h")
    answer = app("why", "emails", "--json").json
    codes = [one["reason"] for one in answer["reasons"]]
    assert codes == ["paused", "daemon_not_running", "scheduled"]
    paused, _, scheduled = answer["reasons"]
    assert f" by {who()}: the mail server is down; queued resume emails" in paused["text"]
    assert paused["paused"]["by"] == who()
    assert scheduled["next_due_at"] == pytest.approx(time.time() + 3600, abs=60)
    assert "1 job is scheduled, the next for " in scheduled["text"]
