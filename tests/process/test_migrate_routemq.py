"""queued migrate routemq: RouteMQ's own layouts on real servers, also when killed anywhere."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from queued.cli.exits import Exit
from queued.drivers.base import Driver, FailedJob, Reservation
from tests.contract.backends import BACKENDS
from tests.process.routemq import CLASS, Database, Redis, entry, failure, payload, reserved
from tests.unit.commands import Application, application
from tests.unit.failing import with_driver

MODULE = """
from queued import Job

class SendEmailJob(Job):
    max_tries = 3
    queue = "emails"
    name = "app.jobs.send_email_job.SendEmailJob"
    def __init__(self):
        super().__init__()
        self.to = None
        self.subject = None
    async def handle(self): ...

class Report(Job):
    name = "app.reports.Report"
    month: int
    async def handle(self): ...
"""
AT = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Iterator[Application]:
    for one in application(tmp_path, monkeypatch, capsys):
        (one.folder / f"{one.module}.py").write_text(MODULE)
        yield one


@pytest.fixture(scope="module", params=["valkey", "redis7"])
def server(request: Any, tmp_path_factory: Any) -> Iterator[Any]:
    yield from BACKENDS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture
def source(server: Any) -> Redis:
    return Redis(server())


def in_target(app: Application, queue: str = "emails") -> list[Reservation]:
    """Return what is ready, in its order."""

    async def take(driver: Driver) -> list[Reservation]:
        got: list[Reservation] = []
        for nonce in range(1, 1_000):
            some = await driver.exchange(
                queue, f"look-{time.monotonic_ns()}", want=1000, nonce=nonce
            )
            if not some.jobs:
                break
            got += some.jobs
        return got

    return asyncio.run(with_driver(app.url, take))


def failed(app: Application, queue: str = "emails") -> list[FailedJob]:
    return asyncio.run(with_driver(app.url, lambda driver: driver.failed(queue, 10_000)))


def body(job: Reservation | FailedJob) -> Any:
    return json.loads(job.payload.partition(b"\n")[2])


def migrate(app: Application, url: str, *more: str) -> Any:
    return app("migrate", "routemq", "--from", url, *more)


def test_every_kind_of_job_of_a_redis_queue(app: Application, source: Redis) -> None:
    due = time.time() + 3600
    for n in range(3):
        source.push(entry(payload(to=f"w{n}", subject=None), old=n == 1))
    source.later(entry(payload(to="later", subject="x"), attempts=1), due)
    source.later(entry(payload(to="overdue", subject="x")), time.time() - 5)
    source.reserve(reserved(entry(payload(to="taken", subject="x"))))
    source.fail(failure(payload(to="bad", subject="x"), at=AT))
    source.fail(failure(payload(to="old", subject="x"), at=AT, old=True))
    answer = migrate(app, source.url)
    assert answer.code == Exit.OK, answer
    assert answer.out.splitlines()[-1] == "8 jobs moved"
    assert source.left() == []
    assert asyncio.run(with_driver(app.url, next_due)) == pytest.approx(due, abs=5)
    ready = in_target(app)
    assert [body(job)["to"] for job in ready] == ["taken", "w0", "w1", "w2", "overdue"]
    assert body(ready[1]) == {"to": "w0", "subject": None}
    bad = {body(job)["to"]: job for job in failed(app)}
    assert set(bad) == {"bad", "old"}
    about = json.loads(bad["old"].record)
    assert about["error"] == "ValueError: no mailbox"
    assert (about["type"], about["job"], about["worker"]) == ("ValueError", CLASS, "routemq")
    assert about["traceback"].startswith("Traceback (most recent call last):")
    assert [job.failed_at for job in bad.values()] == pytest.approx([AT.timestamp()] * 2)
    assert bad["bad"].counts.errors == 3


async def next_due(driver: Driver) -> float:
    """Return when the one scheduled job is due."""
    assert (await driver.stats(["emails"]))["emails"].scheduled == 1
    look = await driver.exchange("emails", "look-due", want=0)
    assert look.next_due is not None
    return time.time() + look.next_due


def test_every_kind_of_job_of_a_database_queue(app: Application, tmp_path: Path) -> None:
    source = Database(tmp_path / "routemq.db")
    for n in range(3):
        source.push(payload(to=f"w{n}", subject=None))
    source.push(payload(to="later", subject="x"), wait=3600)
    source.push(payload(to="taken", subject="x"), taken=True, attempts=1)
    source.fail(payload(to="bad", subject="x"), at=AT)
    answer = migrate(app, source.url, "--json")
    assert answer.code == Exit.OK, answer
    where = {(one["where"], one["count"]) for one in answer.json["moved"]}
    assert where == {("waiting", 3), ("delayed", 1), ("reserved", 1), ("failed", 1)}
    assert source.left() == []
    assert asyncio.run(with_driver(app.url, next_due)) == pytest.approx(time.time() + 3600, abs=300)
    assert [body(job)["to"] for job in in_target(app)] == ["w0", "w1", "w2", "taken"]
    [bad] = failed(app)
    assert bad.failed_at == pytest.approx(AT.timestamp())


def test_a_dry_run_changes_nothing(app: Application, source: Redis) -> None:
    for n in range(450):
        source.push(entry(payload(to=str(n), subject=None)))
    before = source.client.lrange("routemq:queue:emails", 0, -1)
    answer = migrate(app, source.url, "--dry-run")
    assert answer.out.splitlines()[-1] == "450 jobs would be moved"
    assert source.client.lrange("routemq:queue:emails", 0, -1) == before
    assert not (app.folder / "queued.db").exists()


def test_what_cannot_be_moved_is_listed_and_left(app: Application, source: Redis) -> None:
    strange = [
        "no json",
        entry("no payload"),
        entry(payload("app.jobs.gone.Nowhere", x=1)),
        entry(payload("old.place.Report", month=1)),
        entry(payload("app.reports.Report", month="May")),
        entry(payload(to="a", subject=None, extra=1)),
    ]
    for n, raw in enumerate(strange):
        source.push(raw)
        source.push(entry(payload(to=f"good{n}", subject=None)))
    source.push(entry(payload(to="x", subject=None)), queue="no queue!")
    answer = migrate(app, source.url)
    assert answer.code == Exit.PROBLEM
    said = answer.err
    assert "1 job left (waiting in emails): app.jobs.gone.Nowhere: no such class in imports" in said
    assert "perhaps --map old.place.Report=app.reports.Report" in said
    assert "app.reports.Report: Report.month: Input should be a valid integer" in said
    assert "2 jobs left (waiting in emails): ?: this is no job as RouteMQ writes one" in said
    assert "no queue of queued may be called so" in said
    left = source.client.lrange("routemq:queue:emails", 0, -1)
    assert set(left) <= set(strange)
    assert [raw for raw in strange if raw in left] == left
    again = migrate(app, source.url)
    assert again.out.splitlines()[-1] == "0 jobs moved"
    mapped = migrate(app, source.url, "--map", "old.place.Report=app.reports.Report", "--json")
    assert [one["class"] for one in mapped.json["moved"]] == ["old.place.Report"]
    assert strange[3] not in source.client.lrange("routemq:queue:emails", 0, -1)
    names = [body(job).get("to", "report") for job in in_target(app)]
    assert [name for name in names if name != "a"] == [f"good{n}" for n in range(6)] + ["report"]


def test_one_job_in_two_places_is_one_job(app: Application, source: Redis) -> None:
    """As two pollers of RouteMQ leave it, when they make a delayed job due at once."""
    raw = entry(payload(to="once", subject=None))
    source.push(raw)
    source.push(raw)
    source.reserve(reserved(raw))
    assert migrate(app, source.url).code == Exit.OK
    assert len(in_target(app)) == 1
    assert source.left() == []


def test_workers_that_run_are_told(app: Application, source: Redis) -> None:
    source.push(entry(payload(to="a", subject=None)))
    source.heartbeat("w1", "idle")
    source.heartbeat("w2", "dead")
    line = migrate(app, source.url).refused(Exit.PROBLEM)
    assert "1 worker of RouteMQ run (w1): stop them" in line
    assert migrate(app, source.url, "--dry-run").code == Exit.OK
    assert migrate(app, source.url, "--live").code == Exit.OK
    in_target(app)  # registers an owner of queued's
    line = migrate(app, source.url.replace("/0", "/1")).refused(Exit.PROBLEM)
    assert "workers of queued serve emails" in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--from", "nonsense"], "--from: expected redis://... or a database"),
        (["--from", "redis://127.0.0.1:1/0"], "--from redis://127.0.0.1:1/0:"),
        (["--from", "redis://:hunter2@127.0.0.1:1/0"], "127.0.0.1:1"),
        (["--from", "sqlite:///missing.db"], "missing.db: no such database"),
        (["--from", "redis://localhost", "--map", "x"], "expected OLD=NEW"),
        (["--from", "redis://localhost", "--map", "x=y"], 'no job of imports is called "y"'),
    ],
)
def test_what_is_wrong_is_told_in_a_line(app: Application, arguments: list[str], said: str) -> None:
    answer = app("migrate", "routemq", *arguments)
    assert answer.code != Exit.OK
    assert said in answer.err
    assert "hunter2" not in answer.err
    assert "Traceback" not in answer.err


JOBS = 3_000


@pytest.fixture(params=["redis", "database"])
def filled(request: Any, tmp_path: Path) -> Iterator[Any]:
    """Yield RouteMQ's back-end with jobs of every kind, and their names."""
    if request.param == "redis":
        for clean in BACKENDS["valkey"](tmp_path / "valkey"):
            source: Any = Redis(clean())
            pipeline = source.client.pipeline()
            for n in range(JOBS):
                pipeline.rpush("routemq:queue:emails", entry(payload(to=f"w{n}", subject=None)))
            pipeline.execute()
            for n in range(JOBS // 10):
                source.later(entry(payload(to=f"d{n}", subject=None)), time.time() + 3600)
                source.reserve(reserved(entry(payload(to=f"r{n}", subject=None))))
                source.fail(failure(payload(to=f"f{n}", subject=None), at=AT))
            yield source
    else:
        source = Database(tmp_path / "routemq.db")
        for n in range(JOBS // 2):
            source.push(payload(to=f"w{n}", subject=None))
        for n in range(JOBS // 10):
            source.push(payload(to=f"d{n}", subject=None), wait=3600)
            source.push(payload(to=f"r{n}", subject=None), taken=True)
            source.fail(payload(to=f"f{n}", subject=None), at=AT)
        yield source


def names_in(url: str) -> Counter[str]:
    """Return the names of all jobs that the target has, whatever their state."""

    async def look(driver: Driver) -> Counter[str]:
        names: Counter[str] = Counter()
        for one in await driver.failed("emails", 100_000):
            names[body(one)["to"]] += 1
        await driver.requeue("emails", [one.id for one in await driver.failed("emails", 100_000)])
        stats = (await driver.stats(["emails"]))["emails"]
        owner, nonce = "look", 0
        while True:
            nonce += 1
            got = await driver.exchange("emails", owner, want=1_000, nonce=nonce)
            if not got.jobs:
                break
            names.update(body(job)["to"] for job in got.jobs if not body(job)["to"].startswith("f"))
        names["scheduled"] = stats.scheduled
        return names

    return asyncio.run(with_driver(url, look))


def left_in(source: Any) -> int:
    if isinstance(source, Database):
        return len(source.left())
    lists = ["", ":reserved"]
    waiting = sum(source.client.llen(f"routemq:queue:emails{name}") for name in lists)
    delayed = source.client.zcard("routemq:queue:emails:delayed")
    return waiting + delayed + source.client.llen("routemq:queue:failed:emails")


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_anywhere_and_repeated_nothing_is_lost_and_nothing_twice(
    app: Application, filled: Any, seed: int
) -> None:
    chance = random.Random(seed)
    total = left_in(filled)
    script = "from queued.cli import main; main()"
    command = [sys.executable, "-c", script, "migrate", "routemq", "--from", filled.url]
    killed = 0
    for _ in range(200):
        before = left_in(filled)
        process = subprocess.Popen(
            command, cwd=app.folder, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        if killed < 6:
            goal = before - chance.randint(1, total // 8)
            while process.poll() is None and left_in(filled) > goal:
                time.sleep(0.0005)
            time.sleep(chance.random() * 0.02)
            with suppress(ProcessLookupError):
                process.kill()
        _, err = process.communicate()
        if process.returncode == 0:
            break
        assert process.returncode == -9, err
        killed += 1
    assert killed >= 2
    assert left_in(filled) == 0
    names = names_in(app.url)
    waiting = JOBS if isinstance(filled, Redis) else JOBS // 2
    assert names.pop("scheduled") == JOBS // 10
    expected = {f"w{n}" for n in range(waiting)}
    expected |= {f"{kind}{n}" for n in range(JOBS // 10) for kind in "rf"}
    assert set(names) == expected
    assert set(names.values()) == {1}


@pytest.mark.parametrize("step", ["enqueue", "restore", "remove"])
def test_cut_off_after_each_step(
    app: Application, filled: Any, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step is carried out, and the command gets no further."""
    from queued.cli.migrate import redis as routemq_redis
    from queued.cli.migrate import sql as routemq_sql
    from queued.drivers.sql.driver import SqlDriver

    class Cut(Exception):
        pass

    chance = random.Random(step)
    left = 0

    def cut() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Cut

    if step == "remove":
        kind: Any = routemq_sql.SqlSource
        kind = kind if isinstance(filled, Database) else routemq_redis.RedisSource
        real = kind.remove

        def remove(self: Any, *arguments: Any) -> None:
            real(self, *arguments)
            cut()

        monkeypatch.setattr(kind, "remove", remove)
    else:
        real = getattr(SqlDriver, step)

        async def store(self: Any, *arguments: Any) -> Any:
            answer = await real(self, *arguments)
            cut()
            return answer

        monkeypatch.setattr(SqlDriver, step, store)
    for _ in range(100):
        left = chance.randint(0, 3)
        answer = migrate(app, filled.url)
        if answer.code == Exit.OK:
            break
        assert "Cut" in answer.err
    monkeypatch.undo()
    assert left_in(filled) == 0
    names = names_in(app.url)
    assert names.pop("scheduled") == JOBS // 10
    assert set(names.values()) == {1}
    assert len(names) == (JOBS if isinstance(filled, Redis) else JOBS // 2) + JOBS // 5
