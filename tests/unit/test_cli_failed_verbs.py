"""failed list, show, retry, forget, flush: over a real SQLite file."""

from __future__ import annotations

import asyncio
import json

import pytest

from queued.cli.exits import Exit
from queued.drivers.base import Driver, Fail
from queued.drivers.states import Charge
from tests.unit.commands import Application, application
from tests.unit.failing import NOTE, RECORD, fail_jobs, with_driver

app = pytest.fixture(application)


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
