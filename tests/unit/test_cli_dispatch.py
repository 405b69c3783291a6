"""dispatch: over a real SQLite file."""

from __future__ import annotations

import io
import re
import time

import pytest

from queued.cli.exits import Exit
from tests.unit.commands import UNREACHABLE, Application, application
from tests.unit.traced import tracing

app = pytest.fixture(application)


def test_dispatch_prints_a_receipt(app: Application) -> None:
    answer = app("dispatch", app.job("SendEmail"), '{"to": "a@b.c"}')
    assert answer.code == Exit.OK
    assert not answer.err
    assert re.fullmatch(r"[0-9a-f-]{36} enqueued in emails\n", answer.out)
    found = app("job", answer.out.split()[0], "--json").json
    assert found["state"] == "ready"
    assert found["job"] == app.job("SendEmail")
    assert found["payload"] == {"to": "a@b.c", "password": "***"}


def test_a_job_tells_the_trace_of_its_dispatch(app: Application) -> None:
    dispatch = ("dispatch", app.job("SendEmail"), '{"to": "a@b.c"}', "--json")
    with tracing() as traces:
        traced = app(*dispatch).json["id"]
    untraced = app(*dispatch).json["id"]
    trace_id = f"{traces.one('send emails').context.trace_id:032x}"
    assert app("job", traced, "--json").json["trace_id"] == trace_id
    assert re.search(rf"^trace +{trace_id}$", app("job", traced).out, re.MULTILINE)
    assert app("job", untraced, "--json").json["trace_id"] is None
    assert "trace" not in app("job", untraced).out


def test_dispatch_elsewhere_later_under_an_id(app: Application) -> None:
    name = app.job("Nightly")
    answer = app("dispatch", name, "--queue", "emails", "--delay", "5m", "--id", "mine", "--json")
    assert answer.json == {"id": "mine", "enqueued": True, "queue": "emails"}
    found = app("job", "mine", "--json").json
    assert (found["queue"], found["state"]) == ("emails", "scheduled")
    assert found["due_at"] - found["enqueued_at"] == pytest.approx(300, abs=1)
    again = app("dispatch", name, "--queue", "emails", "--id", "mine")
    assert again.out == "mine is in emails already; nothing was enqueued\n"


def test_dispatch_of_a_duplicate_names_the_job_that_holds_the_key(app: Application) -> None:
    name = app.job("Nightly")
    held = app("dispatch", name, "--unique-key", "of may", "--json").json["id"]
    again = app("dispatch", name, "--unique-key", "of may", "--unique-for", "5m")
    assert again.code == Exit.OK
    assert again.out == f"{held} in default holds the unique key; nothing was enqueued\n"
    assert app("job", held, "--json").json["unique_key"] == "of may"
    assert re.search(r"^unique +of may$", app("job", held).out, re.MULTILINE)
    line = app("dispatch", name, "--unique-for", "5m").refused(Exit.PROBLEM)
    assert "unique_for needs a key" in line


@pytest.mark.parametrize("at", ["2999-07-01T09:00+02:00", "2999-07-01T07:00Z", "2999-07-01"])
def test_dispatch_at_a_time(app: Application, at: str) -> None:
    line = app("dispatch", app.job("Nightly"), "--at", at).refused(Exit.PROBLEM)
    assert "more than a hundred years away" in line
    soon = at.replace("2999", str(time.gmtime().tm_year + 1))
    job_id = app("dispatch", app.job("Nightly"), "--at", soon, "--json").json["id"]
    found = app("job", job_id, "--json").json
    assert found["state"] == "scheduled"
    if len(at) > len("2999-07-01"):
        assert time.strftime("-%m-%dT%H:%M", time.gmtime(found["due_at"])) == "-07-01T07:00"


@pytest.mark.parametrize("at", ["tomorrow", "", "9"])
def test_what_is_no_time(app: Application, at: str) -> None:
    line = app("dispatch", app.job("Nightly"), "--at", at).refused(Exit.USAGE)
    assert "expected a time such as 2026-07-01T09:00" in line


def test_dispatch_reads_the_fields_from_standard_input(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO('{"to": "é"}'))
    answer = app("dispatch", app.job("SendEmail"), "-", "--json")
    assert app("job", answer.json["id"], "--json").json["payload"]["to"] == "é"


def test_dispatch_to_a_queue_that_no_pool_serves_warns(app: Application) -> None:
    answer = app("dispatch", app.job("Nightly"), "--queue", "elsewhere")
    assert answer.code == Exit.OK
    assert (
        "warning: no pool of queue.yaml serves the queue elsewhere, so the job waits there\n"
        in answer.err
    )


def test_a_typo_in_the_queue_of_a_dispatch_is_told(app: Application) -> None:
    answer = app("dispatch", app.job("Nightly"), "--queue", "defautl")
    assert answer.err.endswith('so the job waits there; did you mean "default"?\n')


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("SendEmail", "did you mean {module}.SendEmail?"),
        ("{module}.SendMail", "did you mean {module}.SendEmail?"),
        ("{module}.Xyzzy", "known are {module}.Nightly, {module}.SendEmail"),
        ("os.system", "known are {module}.Nightly"),
        ("", "known are"),
    ],
)
def test_an_unknown_job_lists_those_that_are_near(
    app: Application, name: str, complaint: str
) -> None:
    line = app("dispatch", name.format(module=app.module)).refused(Exit.PROBLEM)
    assert complaint.format(module=app.module) in line


def test_an_unknown_job_without_imports_says_so(app: Application) -> None:
    app.configure("queues: {default: }")
    assert "names no module" in app("dispatch", "nowhere.X").refused(Exit.PROBLEM)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ("{'to': 1}", "JSON: expecting property name enclosed in double quotes at column 2"),
        ("{'to': 1}", "JSON has double quotes"),
        ('{"to": ', "JSON: expecting value at column 8, at its end"),
        ('{"to": 1,\n x}', "at column 2 of line 2, before 'x}'"),
        ("[1]", """JSON: expected an object such as '{"to": 1}', got a list"""),
        ('"x"', "got a text"),
        ("null", "got null"),
        ("3", "got a value"),
        ("", "JSON: expecting value at column 1, at its end"),
        ('{"to": NaN}', "JSON: NaN is no JSON"),
        ('{"to": ' + "[" * 100_000, "JSON: maximum recursion depth exceeded"),
        ('{"to": "\udc80"}', "JSON: not UTF-8"),
    ],
)
def test_wrong_json_says_where(app: Application, fields: str, complaint: str) -> None:
    assert complaint in app("dispatch", app.job("SendEmail"), fields).refused(Exit.USAGE)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (['{"to": 3}'], "SendEmail.to"),
        (["{}"], "SendEmail.to"),
        (['{"to": "x", "cc": "y"}'], "cc"),
        (['{"to": "x"}', "--queue", "a b"], "expected a queue's name"),
        (['{"to": "x"}', "--id", "a b"], "expected an id"),
        (['{"to": "' + "x" * 2_000_000 + '"}'], "1 MiB"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_enqueued(
    app: Application, arguments: list[str], complaint: str
) -> None:
    line = app("dispatch", app.job("SendEmail"), *arguments).refused(Exit.PROBLEM)
    assert complaint in line
    assert app("purge", "emails", "--yes").code == Exit.PROBLEM  # no job was ever in it


def test_a_broken_import_names_its_line(app: Application) -> None:
    (app.folder / f"{app.module}.py").write_text("x = 1\nraise RuntimeError('not today')\n")
    line = app("dispatch", "x").refused(Exit.CONFIG)
    assert f"{app.module}.py:2: RuntimeError: not today" in line


def test_a_broken_configuration_shows_every_problem(app: Application) -> None:
    app.configure("queues:\n  a: {proceses: 1}\n  b: {sleep: x}\n")
    answer = app("dispatch", "x")
    assert answer.code == Exit.CONFIG
    assert [line[:20] for line in answer.err.splitlines()] == [
        "queued: queue.yaml:2",
        "queued: queue.yaml:3",
    ]


def test_dispatch_to_a_back_end_that_is_away_names_the_id(app: Application) -> None:
    arguments = ["dispatch", app.job("Nightly"), "--id", "mine", "--connection", UNREACHABLE]
    line = app(*arguments).refused(Exit.UNAVAILABLE)
    assert "mine" in line
    assert "hunter2" not in line
