"""dispatch, job, cancel, purge, failed: over a real SQLite file."""

from __future__ import annotations

import asyncio
import io
import json
import re
import time
from typing import Any

import pytest
from rich.console import Console

from queued.cli import output
from queued.cli.exits import Exit
from queued.drivers import driver_for
from queued.drivers.base import Driver, Fail, NewJob, Release
from queued.drivers.states import Charge
from tests.unit.commands import Application, application
from tests.unit.traced import tracing

app = pytest.fixture(application)

RECORD = {
    "error": "ValueError: no \x1b[31mstation",
    "type": "builtins.ValueError",
    "traceback": 'Traceback (most recent call last):\n  File "jobs.py", line 3\nValueError',
    "at": 1_700_000_000.0,
    "worker": "emails/1",
    "job": "app.SendEmail",
    "reason": "max_tries",
}
NOTE = {"at": 1_700_000_000.0, "outcome": "failed", "error": "ValueError: no", "run": 1}


DOSSIER = {
    "ending": "was killed by SIGSEGV",
    "host": "h1",
    "oom": False,
    "peak_memory": 212 << 20,
    "ran": 0.31,
    "stack": 'Current thread 0x1:\n  File "jobs.py\x1b[31m", line 3 in handle',
}
LOG = [
    json.dumps({"timestamp": "T", "level": "info", "event": "x", "n": 1, "text": "a\x1b[31mb"}),
    "plain \x1b[31mline",
]
WHOLE = DOSSIER | {"worker": "emails/2", "run": 3, "memory_limit": 1 << 30, "log": LOG}


def fail_jobs(
    url: str, queue: str, *ids: str, record: Any = RECORD, note: Any = NOTE, lost: bool = False
) -> None:
    """Enqueue jobs and fail them, as a worker does; ``lost``: hand them back, as a janitor does."""

    async def act(driver: Driver) -> None:
        payload = b'{"v":1,"job":"app.SendEmail"}\n{"to":"x","password":"hunter2"}'
        await driver.enqueue(queue, [NewJob(one, payload) for one in ids])
        owner = f"test-{time.monotonic_ns()}"
        held = await driver.exchange(queue, owner, want=len(ids), nonce=1)
        assert len(held.jobs) == len(ids)
        paper, line = json.dumps(record).encode(), json.dumps(note).encode()
        ends = [
            Release(one.id, one.fence, Charge.LOST, line)
            if lost
            else Fail(one.id, one.fence, Charge.ERROR, paper, line)
            for one in held.jobs
        ]
        await driver.exchange(queue, owner, ends, want=0, nonce=2)

    asyncio.run(with_driver(url, act))


async def with_driver(url: str, act: Any) -> Any:
    driver = driver_for(url)
    await driver.open()
    try:
        return await act(driver)
    finally:
        await driver.close()


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


def test_failed_list(app: Application) -> None:
    app("dispatch", app.job("Nightly"))
    assert app("failed", "list").out == "no failed jobs\n"
    assert app("failed", "list", "--json").json == []
    fail_jobs(app.url, "emails", "one", "two")
    fail_jobs(app.url, "reports", "three")
    listed = app("failed", "list")
    assert listed.out.splitlines()[1].startswith("three")
    assert len(listed.out.splitlines()) == 4
    assert "\x1b" not in listed.out
    only = app("failed", "list", "--queue", "emails", "--json").json
    assert {one["id"] for one in only} == {"one", "two"}
    assert only[0]["record"]["reason"] == "max_tries"
    assert "2 more" in app("failed", "list", "--limit", "1").out
    assert 'did you mean "emails"' in app("failed", "list", "--queue", "email").refused(1)


def test_failed_show(app: Application) -> None:
    fail_jobs(app.url, "emails", "bad")
    shown = app("failed", "show", "bad")
    assert 'File "jobs.py", line 3' in shown.out
    assert "hunter2" not in shown.out
    assert app("failed", "show", "bad", "--json").json["record"] == RECORD
    app("dispatch", app.job("Nightly"), "--id", "fine")
    line = app("failed", "show", "fine").refused(Exit.PROBLEM)
    assert "has not failed, it is ready; see: queued job fine" in line
    app("failed", "show", "gone").refused(Exit.PROBLEM)


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


def test_failed_retry(app: Application) -> None:
    fail_jobs(app.url, "emails", "one", "two", "three")
    answer = app("failed", "retry", "one", "one", "gone")
    assert answer.out == "1 job put back\n"
    assert answer.refused(Exit.PROBLEM) == "queued: no failed job 'gone'\n"
    found = app("job", "one", "--json").json
    assert (found["state"], found["counts"]["tries"]) == ("ready", 0)
    assert found["history"] == [NOTE]
    everything = app("failed", "retry", "--all", "--queue", "emails", "--json")
    assert everything.json == {"put_back": 2, "not_failed": []}
    assert app("failed", "retry", "--all").out == "0 jobs put back\n"


def test_failed_forget_and_flush(app: Application) -> None:
    fail_jobs(app.url, "emails", "one", "two")
    fail_jobs(app.url, "reports", "three", "four")
    assert app("failed", "forget", "one").out == "1 job removed\n"
    app("job", "one").refused(Exit.PROBLEM)
    assert app("failed", "flush", "--queue", "reports").out == "2 jobs removed\n"
    assert app("failed", "flush", "--yes", "--json").json == {"removed": 1, "not_failed": []}
    assert app("failed", "list").out == "no failed jobs\n"


def test_more_failed_jobs_than_one_batch(app: Application) -> None:
    for start in range(0, 2_400, 800):
        fail_jobs(app.url, "emails", *(f"j{number}" for number in range(start, start + 800)))
    assert app("failed", "retry", "--all").out == "2400 jobs put back\n"
    assert app("purge", "emails").out == "2400 jobs removed from emails\n"


UNREACHABLE = "redis://:hunter2@127.0.0.1:1/0"


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


def test_dispatch_to_a_back_end_that_is_away_names_the_id(app: Application) -> None:
    arguments = ["dispatch", app.job("Nightly"), "--id", "mine", "--connection", UNREACHABLE]
    line = app(*arguments).refused(Exit.UNAVAILABLE)
    assert "mine" in line
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
    output.print_table(("id", "error"), [(job_id, error)], below=True)
    beside = [f"{'id':36}  error", f"{job_id}  {error}"]
    assert capsys.readouterr().out.splitlines() == (
        beside if width > 100 else ["id", job_id, f"    {error}"]
    )


def test_a_failed_job_stays_failed_while_another_holds_its_key(app: Application) -> None:
    name = app.job("Nightly")
    failed = app("dispatch", name, "--unique-key", "of may", "--json").json["id"]

    async def fail_it(driver: Driver) -> None:
        [held] = (await driver.exchange("default", "test-1", want=1, nonce=1)).jobs
        end = Fail(held.id, held.fence, Charge.ERROR, json.dumps(RECORD).encode())
        await driver.exchange("default", "test-1", [end], nonce=2)

    asyncio.run(with_driver(app.url, fail_it))
    app("dispatch", name, "--unique-key", "of may")
    for which in (failed, "--all"):
        answer = app("failed", "retry", which)
        assert answer.code == Exit.PROBLEM
        assert answer.out == "0 jobs put back\n"
        assert f"{failed} stays failed: another job holds its unique key" in answer.err
    said = app("failed", "retry", "--all", "--json").json
    assert said == {"put_back": 0, "not_failed": [], "stay_failed": [failed]}
