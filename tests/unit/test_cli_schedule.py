"""``queued schedule``, and what ``queued check`` says of schedules."""

from __future__ import annotations

import time

import pytest

from queued.cli import backend
from queued.cli.exits import Exit
from queued.drivers.base import Driver
from tests.unit.commands import Application, application

app = pytest.fixture(application)


def configure(app: Application, *lines: str) -> None:
    schedules = "\n".join(f"  {line}" for line in lines)
    app.configure(
        f"imports: [{app.module}]\nqueues: {{default: , emails: }}\n"
        f"schedule:\n{schedules.replace('work.', app.module + '.')}"
    )


def test_check_knows_schedules(app: Application) -> None:
    configure(
        app,
        'a: {cron: "0 3 * * 0", job: work.Nightly}',
        "b: {every: 10m, job: work.SendEmail, args: {to: a@b.c}, queue: emails}",
    )
    answer = app("check", "--no-practices")
    assert answer.code == 0, answer
    assert "schedule" not in answer.out


def test_check_says_what_no_worker_could_run(app: Application) -> None:
    configure(
        app,
        "a: {every: 10m, job: work.Nightl}",
        "b: {every: 10m, job: work.SendEmail, args: {too: a@b.c}, queue: emails}",
        "c: {every: 10m, job: work.SendEmail, queue: emails}",
    )
    answer = app("check", "--no-practices", "--json")
    assert answer.code == 1
    a, b, c = answer.json["problems"]
    assert "queue.yaml:4: schedule.a.job: " in a
    assert f'did you mean "{app.module}.Nightly"?' in a
    assert "queue.yaml:5: schedule.b.args: " in b
    assert "queue.yaml:6: schedule.c.job: " in c
    assert "to" in c


def test_check_warns_of_a_class_that_names_another_queue(app: Application) -> None:
    configure(app, "a: {every: 10m, job: work.SendEmail, args: {to: a@b.c}}")
    warnings = app("check", "--no-practices", "--json").json["warnings"]
    [mine] = [one for one in warnings if "schedule.a" in one]
    assert "its class names the queue emails, and it goes to default" in mine


def test_list_and_run(app: Application) -> None:
    configure(
        app,
        'a: {cron: "0 3 * * 0", job: work.Nightly, timezone: Europe/Paris}',
        "b: {every: 10m, job: work.SendEmail, args: {to: a@b.c}, queue: emails}",
    )
    done = app("schedule", "run", "b", "--json").json
    assert (done["enqueued"], done["queue"]) == (True, "emails")
    assert '"to":"a@b.c"' in app("job", done["id"], "--json").out.replace(" ", "").replace("\\", "")
    listed = app("schedule", "list").out
    assert "0 3 * * 0 Europe/Paris" in listed
    assert "every 10m" in listed
    a, b = app("schedule", "list", "--json").json
    assert (a["name"], a["last_tick"], a["timezone"]) == ("a", None, "Europe/Paris")
    assert b["next_tick"] % 600 == 0
    assert listed.count("no daemon knows it yet: queued start, or queued reload") == 2


def test_list_says_what_no_daemon_has_taken(app: Application) -> None:
    configure(
        app,
        "taken: {every: 1h, job: work.Nightly}",
        "waiting: {every: 1h, job: work.Nightly}",
        "new: {every: 1h, job: work.Nightly}",
    )
    hour = int(time.time()) // 3600 * 3600
    known = {"taken": hour + 3600, "waiting": hour - 7200, "new": hour + 3601}

    async def take_up(driver: Driver) -> None:
        for name, last in known.items():
            await driver.tick("default", name, None, last, None)

    app("dispatch", app.job("Nightly"))  # makes the database
    backend.ask(app.url, take_up)
    taken, waiting, new = app("schedule", "list", "--json").json
    assert (taken["overdue_tick"], new["overdue_tick"]) == (None, None)
    assert waiting["overdue_tick"] == hour - 3600
    _head, *rows, note = app("schedule", "list").out.splitlines()
    assert [" none since " in row for row in rows] == [False, False, True]
    assert note.startswith("waiting: the tick of ")
    assert "was taken by no daemon; does one run (queued status)?" in note


def test_wrong_names(app: Application) -> None:
    configure(app, "a: {every: 10m, job: work.Nightly}")
    line = app("schedule", "run", "b").refused(Exit.PROBLEM)
    assert "queue.yaml has no schedule 'b'; there are a" in line
    configure(app, "a: {every: 10m, job: work.Gone}")
    app("schedule", "run", "a").refused(Exit.PROBLEM)


def test_none(app: Application) -> None:
    assert app("schedule", "list").out == "queue.yaml has no schedule\n"
    assert app("schedule", "list", "--json").json == []
