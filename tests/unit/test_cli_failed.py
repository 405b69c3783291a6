"""queued failed: filters, groups, canaries, export and import; over a real SQLite file."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest

from queued.cli.exits import Exit
from queued.drivers.base import Ack, Charge, Counts, Driver, Fail, FailedJob, NewJob, Retry
from queued.drivers.sequel import Parcel, Sequel
from tests.unit.commands import Application, application
from tests.unit.failing import with_driver

app = pytest.fixture(application)
NOW = time.time()


def failure(name: str, **values: Any) -> FailedJob:
    """Return a failed job; ``error``, ``kind``, ``job``, ``ago`` and ``trace`` say what it is."""
    error = values.pop("error", f"no customer {name}")
    kind = values.pop("kind", "builtins.ValueError")
    job = values.pop("job", "app.SendEmail")
    trace = values.pop("trace", 'Traceback\n  File "/srv/app/mail.py", line 3, in handle\n')
    at = NOW - values.pop("ago", 60)
    record = {
        "error": f"{kind.rpartition('.')[2]}: {error}",
        "type": kind,
        "traceback": trace,
        "job": job,
    }
    payload = f'{{"v":1,"job":"{job}"}}\n{{"to":"{name}"}}'.encode()
    made = FailedJob(name, "emails", payload, json.dumps(record).encode(), at, at - 10)
    return replace(made, **values)


def store(app: Application, *jobs: FailedJob) -> None:
    async def act(driver: Driver) -> None:
        for one in jobs:
            assert await driver.restore(one.queue, [one]) == [True]

    asyncio.run(with_driver(app.url, act))


def stored(app: Application, queue: str = "emails") -> list[FailedJob]:
    return asyncio.run(with_driver(app.url, lambda driver: driver.failed(queue, 5_000)))


def some(app: Application) -> None:
    store(
        app,
        failure("a1", error="no customer 1", ago=7200),
        failure("a2", error="no customer 23", ago=60),
        failure("b1", kind="httpx.ConnectError", error="cannot reach 'mx1'", ago=100_000),
        failure("c1", error="no customer 9", job="app.Nightly", queue="reports", ago=30),
    )


FILTERS = {
    ("--queue", "emails"): "a1 a2 b1",
    ("--job", "SendEmail"): "a1 a2 b1",
    ("--job", "app.Nightly"): "c1",
    ("--job", "app.Night"): "",
    ("--error", "ConnectError"): "b1",
    ("--error", "httpx.ConnectError"): "b1",
    ("--error", "Connect"): "b1",
    ("--error", "CUSTOMER 2"): "a2",
    ("--since", "1h"): "a2 c1",
    ("--until", "1h"): "a1 b1",
    ("--since", "3h", "--until", "1h"): "a1",
    ("--until", "2020-01-31"): "",
    ("--since", "2020-01-31T12:00", "--queue", "reports"): "c1",
}


@pytest.mark.parametrize(("filters", "found"), FILTERS.items(), ids=" ".join)
def test_filters(app: Application, filters: tuple[str, ...], found: str) -> None:
    some(app)
    listed = app("failed", "list", "--json", *filters).json
    assert sorted(one["id"] for one in listed) == found.split()
    assert [one["failed_at"] for one in listed] == sorted(
        (one["failed_at"] for one in listed), reverse=True
    )
    exported = [
        json.loads(line) for line in app("failed", "export", "-", *filters).out.splitlines()
    ]
    assert [one["id"] for one in exported] == [one["id"] for one in listed]
    if filters[0] != "--queue":
        answer = app("failed", "retry", "--json", *filters)
        assert answer.json == {"put_back": len(listed), "not_failed": []}
        assert app("failed", "list", "--json", *filters).json == []


def test_a_wrong_time_is_told(app: Application) -> None:
    line = app("failed", "list", "--since", "soon").refused(Exit.USAGE)
    assert "'soon' is neither like 30m, 1h, 2d nor like 2026-01-31T12:00" in line


def test_groups(app: Application) -> None:
    some(app)
    store(app, failure("a3", error="no customer 4", ago=10, trace=""))
    groups = app("failed", "list", "--group", "--json", "--queue", "emails").json
    assert [one["count"] for one in groups] == [2, 1, 1]
    first = groups[0]
    assert first["message"] == "no customer N"
    assert first["where"] == "app/mail.py:handle"
    assert (first["type"], first["example"]) == ("builtins.ValueError", "a2")
    assert first["jobs"] == ["app.SendEmail"]
    assert first["last_at"] - first["first_at"] == pytest.approx(7140)
    only = app("failed", "list", "--json", "--fingerprint", first["fingerprint"]).json
    assert [one["id"] for one in only] == ["c1", "a2", "a1"]  # of every queue
    text = app("failed", "list", "--group").out
    assert "httpx.ConnectError: cannot reach '…' in app/mail.py:handle" in text
    assert text.splitlines()[1].split()[:2] == ["3", first["fingerprint"]]
    assert text.splitlines()[-1] == "5 failed jobs of 3 kinds"
    assert app("failed", "list", "--group", "--error", "nothing").out == "no failed jobs\n"


def test_a_list_that_is_cut_says_so(app: Application) -> None:
    some(app)
    assert "3 more; --limit" in app("failed", "list", "--limit", "1").out
    cut = app("failed", "list", "--limit", "1", "--json")
    assert (len(cut.json), "3 more; --limit" in cut.err) == (1, True)
    assert app("failed", "list", "--json").err == ""
    assert (
        "there are more; --limit" in app("failed", "list", "--limit", "1", "--job", "SendEmail").out
    )
    assert "more" not in app("failed", "list", "--job", "Nightly").out


def test_forget_and_flush_by_filters(app: Application) -> None:
    some(app)
    assert app("failed", "forget", "--error", "ConnectError").out == "1 job removed\n"
    assert app("failed", "flush", "--until", "1h", "--json").json["removed"] == 1
    assert [one.id for one in stored(app)] == ["a2"]
    assert [one.id for one in stored(app, "reports")] == ["c1"]


HOUR = 3_600.0


def test_prune_by_age(app: Application) -> None:
    store(app, failure("a", ago=1 * HOUR), failure("b", ago=30 * HOUR), failure("c", ago=50 * HOUR))
    assert app("failed", "prune", "--older-than", "2d").out == "1 job removed\n"
    answer = app("failed", "prune", "--older-than", "1d", "--queue", "emails", "--json").json
    assert answer == {"removed": 1, "queues": {"emails": 1}}
    assert [one.id for one in stored(app)] == ["a"]
    assert app("failed", "prune", "--older-than", "1d").out == "0 jobs removed\n"


def test_prune_as_queue_yaml_has_it(app: Application) -> None:
    store(app, failure("a", ago=1 * HOUR), failure("b", ago=30 * HOUR))
    assert "has no retain_failed" in app("failed", "prune").refused(Exit.USAGE)
    app.configure(f"imports: [{app.module}]\nqueues: {{default: , emails: {{retain_failed: 1d}}}}")
    assert "queues.default" in app("failed", "prune", "--queue", "default").refused(Exit.USAGE)
    assert app("failed", "prune").out == "1 job removed\n"
    assert [one.id for one in stored(app)] == ["a"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["retry"], "name the jobs by ID or by a filter, or say --all"),
        (["retry", "--queue", "emails"], "or say --all"),
        (["retry", "a1", "--all"], "not by both"),
        (["retry", "a1", "--error", "x"], "not by both"),
        (["retry", "a1", "--canary"], "--canary chooses"),
        (["forget"], "`failed flush` removes all"),
        (["forget", "--queue", "emails"], "`failed flush` removes all"),
        (["forget", "a1", "--job", "X"], "not by both"),
    ],
)
def test_what_is_not_said_is_not_done(app: Application, arguments: list[str], said: str) -> None:
    some(app)
    assert said in app("failed", *arguments).refused(Exit.USAGE)
    assert len(stored(app)) == 3


def test_what_another_job_holds_the_key_of_stays_failed(app: Application) -> None:
    store(app, failure("a1", unique="key"), failure("a2", unique="key", ago=30))
    answer = app("failed", "retry", "--all")
    assert (answer.code, answer.out) == (Exit.PROBLEM, "1 job put back\n")
    assert answer.err == "queued: a2 stays failed: another job holds its unique key\n"
    answer = app("failed", "retry", "a2", "gone", "--json")
    assert answer.json == {"put_back": 0, "not_failed": ["gone"], "stay_failed": ["a2"]}
    assert app("failed", "forget", "a2").out == "1 job removed\n"


def test_more_than_a_page(app: Application) -> None:
    store(app, *(failure(f"x{n}", ago=n, error=f"no {n}") for n in range(600)))
    listed = app("failed", "list", "--limit", "600", "--json").json
    assert [one["id"] for one in listed] == [f"x{n}" for n in range(600)]
    [group] = app("failed", "list", "--group", "--json").json
    assert group["count"] == 600
    assert app("failed", "forget", "--error", "no 5").out == "111 jobs removed\n"


# canaries


class Worker(threading.Thread):
    """Takes jobs of a queue in a thread, and ends each as it is told to."""

    def __init__(self, url: str, ends: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self.url, self.ends, self.took = url, ends, []
        self.over = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join()

    def run(self) -> None:
        asyncio.run(with_driver(self.url, self.work))

    async def work(self, driver: Driver) -> None:
        nonce = 0
        while not self.over.is_set():
            nonce += 1
            got = await driver.exchange("emails", "canary-test", want=1, nonce=nonce)
            ends = []
            for job in got.jobs:
                self.took.append(job.id)
                ends.append(self.ends[job.id[0]](job))
            await driver.exchange("emails", "canary-test", ends)
            await asyncio.sleep(0.01)


def ack(job: Any) -> Ack:
    return Ack(job.id, job.fence)


def fail_again(job: Any) -> Fail:
    record = json.dumps({"error": "ValueError: still no", "type": "builtins.ValueError"})
    return Fail(job.id, job.fence, Charge.ERROR, record.encode())


def retry_later(job: Any) -> Retry:
    note = json.dumps({"error": "ValueError: not yet"}).encode()
    return Retry(job.id, job.fence, 3600.0, Charge.ERROR, note)


def kinds(app: Application) -> None:
    store(app, *(failure(f"a{n}", ago=n, error="gone") for n in range(1, 4)))
    store(app, *(failure(f"b{n}", ago=n + 10, error="broken") for n in range(1, 3)))
    store(app, *(failure(f"c{n}", ago=n + 20, error="late") for n in range(1, 3)))


def test_canaries_go_first_and_the_others_of_the_cured_follow(app: Application) -> None:
    kinds(app)
    with Worker(app.url, {"a": ack, "b": fail_again, "c": retry_later}) as worker:
        answer = app("failed", "retry", "--all", "--canary")
    assert answer.code == Exit.PROBLEM
    lines = answer.out.splitlines()
    assert lines[0] == "3 canary jobs put back; waiting up to 5m for them"
    assert lines[1].startswith("a1 succeeded (2 others: ValueError: gone in app/mail.py:handle")
    assert lines[2].startswith("b1 failed again: ValueError: still no (1 other:")
    assert lines[3].startswith("c1 failed again: ValueError: not yet (1 other:")
    assert lines[4] == "2 other jobs put back"
    assert sorted(worker.took[:3]) == ["a1", "b1", "c1"]
    assert {one.id for one in stored(app)} == {"b1", "b2", "c2"}
    assert app("job", "c1", "--json").json["state"] == "scheduled"


def test_canaries_in_json(app: Application) -> None:
    kinds(app)
    with Worker(app.url, {"a": ack}):
        answer = app("failed", "retry", "--error", "gone", "--canary", "--json", "--yes")
    assert answer.code == Exit.OK
    [one] = answer.json
    assert (one["verdict"], one["put_back"], one["example"]) == ("succeeded", 2, "a1")


def test_a_canary_that_nobody_takes(app: Application) -> None:
    kinds(app)
    answer = app("failed", "retry", "--error", "gone", "--canary", "--wait", "0.01")
    assert answer.code == Exit.PROBLEM
    assert "a1 has not ended yet; does a worker serve its queue?" in answer.out
    assert answer.out.splitlines()[-1] == "0 other jobs put back"
    assert {one.id for one in stored(app)} >= {"a2", "a3"}


def test_nothing_to_try(app: Application) -> None:
    some(app)
    answer = app("failed", "retry", "--error", "nothing", "--canary")
    assert (answer.code, answer.out) == (Exit.OK, "0 other jobs put back\n")


# export and import


def test_what_is_exported_and_imported_is_the_same(app: Application) -> None:
    odd = failure(
        "odd",
        payload=bytes(range(256)),
        record=b"\xff",
        history='{"error":"ä\u2028"}\n'.encode(),
        counts=Counts(1, 2, 3, 4, 5, 6),
        hook_pending=True,
        unique="held",
        sequel=Sequel(then=Parcel("emails", NewJob("next", b"\xff")).packed()).packed(),
    )
    store(app, odd, failure("even", ago=61), failure("far", queue="reports"))
    before = stored(app) + stored(app, "reports")
    file = app.folder / "failed.jsonl"
    assert app("failed", "export", str(file)).out == "3 jobs exported\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in app.folder.glob("failed*")] == ["failed.jsonl"]
    assert all(json.loads(line)["version"] == 1 for line in file.read_text().splitlines())
    assert app("failed", "import", str(file)).out == "0 jobs imported, 3 were there already\n"
    app("failed", "flush")
    assert app("failed", "import", str(file)).out == "3 jobs imported\n"
    assert stored(app) + stored(app, "reports") == before
    answer = app("failed", "import", str(file), "--json")
    assert answer.json == {"imported": 0, "already_there": 3, "wrong": 0}


def test_an_export_overwrites_nothing(app: Application) -> None:
    some(app)
    file = app.folder / "failed.jsonl"
    file.write_text("mine")
    assert "exists: remove it" in app("failed", "export", str(file)).refused(Exit.PROBLEM)
    assert file.read_text() == "mine"
    line = app("failed", "export", "no/where.jsonl").refused(Exit.PROBLEM)
    assert "no/where.jsonl cannot be written" in line
    assert app("failed", "export", "some.jsonl", "--job", "Nightly", "--json").json == {
        "exported": 1
    }


WRONG = {
    "no json": "this is no JSON",
    "[]": 'expected an object with "version": 1',
    '{"version": 2}': 'expected an object with "version": 1',
    '{"version": 1}': '"id" is missing',
    '{"id": "bad id!"}': '"id": expected up to 64 letters',
    '{"queue": 3}': '"queue": expected str, got int',
    '{"payload": {"base64": "%"}}': '"payload": expected a text, or {"base64": "..."}',
    '{"payload": 1}': '"payload": expected a text',
    '{"payload": "\\ud800"}': '"payload": it has lone surrogates',
    '{"failed_at": "now"}': '"failed_at": expected float, got str',
    '{"failed_at": true}': '"failed_at": expected float, got bool',
    '{"failed_at": NaN}': '"failed_at": expected seconds since 1970',
    '{"counts": {"errors": -1}}': '"counts": expected numbers under errors,',
    '{"counts": {"typos": 1}}': '"counts": expected numbers under errors,',
    '{"hook_pending": 1}': '"hook_pending": expected bool, got int',
    '{"unique": 1}': '"unique": expected str | None, got int',
    '{"sequel": "x"}': '"sequel": it cannot be read',
    '{"later": 1}': '"later" is not known to this version of queued',
}


@pytest.mark.parametrize(("wrong", "said"), WRONG.items(), ids=list(WRONG))
def test_a_wrong_line_is_named_and_nothing_else_is_lost(
    app: Application, wrong: str, said: str
) -> None:
    some(app)
    lines = app("failed", "export", "-").out.splitlines()
    app("failed", "flush")
    if wrong.startswith("{") and "version" not in wrong:
        wrong = json.dumps(json.loads(lines[0]) | json.loads(wrong))
    file = app.folder / "failed.jsonl"
    file.write_text("\n".join([lines[0], wrong, "", *lines[1:]]))
    answer = app("failed", "import", str(file))
    assert answer.out == "4 jobs imported\n"
    line = answer.refused(Exit.PROBLEM)
    assert f"failed.jsonl: line 2: {said}" in line


def test_many_wrong_lines_are_summed_up(app: Application) -> None:
    some(app)
    file = app.folder / "failed.jsonl"
    file.write_text("x\n" * 25)
    answer = app("failed", "import", str(file), "--json")
    assert answer.json == {"imported": 0, "already_there": 0, "wrong": 25}
    assert len(answer.err.splitlines()) == 21
    assert "5 more lines are wrong" in answer.err
    line = app("failed", "import", "missing.jsonl").refused(Exit.PROBLEM)
    assert "missing.jsonl cannot be read" in line


def test_through_a_pipe(app: Application, tmp_path: Path) -> None:
    some(app)
    other = f"sqlite:///{tmp_path}/other.db"
    asyncio.run(with_driver(other, lambda driver: driver.ping()))
    script = "from queued.cli import main; main()"
    queued = f"{sys.executable} -c '{script}' failed"
    piped = subprocess.run(
        f"{queued} export - --connection {app.url} | {queued} import - --connection {other}",
        shell=True,
        cwd=app.folder,
        env=os.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert piped.stdout == "4 jobs imported\n"
    assert piped.stderr == "4 jobs exported\n"
