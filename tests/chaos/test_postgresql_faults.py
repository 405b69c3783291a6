"""PostgreSQL goes and comes back: commits whose answer is lost, crashes, failover, dead listeners.

Not injected: a full disk (53100), which needs a file system of its own, and a cut network without a
reset, which needs its own network; the time bounds of both stand in the driver's settings.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Self

import pytest

from queued.daemon.metrics import Metrics
from queued.daemon.monitor.janitor import Janitor
from queued.daemon.monitor.scheduler import Scheduler
from queued.daemon.spec import ScheduleSpec
from queued.drivers.base import NewJob
from queued.drivers.sql import SqlDriver, postgresql, postgresql_server
from queued.errors import ConfigError, DriverUnavailable, QueueUnavailable
from tests.contract.backends import unavailable
from tests.contract.postgresql import Postgresql, program, running_postgresql
from tests.contract.steps import (
    ME,
    WITHIN,
    Q,
    ack,
    drain,
    hold,
    names,
    push,
    reserve,
    settle,
    until,
)
from tests.process.harness import Daemon
from tests.process.harness import until as sync_until


@pytest.fixture(scope="module")
def server() -> Iterator[Postgresql]:
    """As durable as it comes: what is acknowledged has been written."""
    if program("postgres") is None:
        unavailable("PostgreSQL is not installed")
    with running_postgresql() as server:
        yield server


@pytest.fixture(autouse=True)
def clean(server: Postgresql) -> None:
    server.run("DROP SCHEMA public CASCADE")
    server.run("CREATE SCHEMA public")


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[SqlDriver]:
    driver = SqlDriver(url)
    try:
        await driver.open()
        yield driver
    finally:
        await driver.close()


@pytest.fixture
async def driver(server: Postgresql) -> AsyncIterator[SqlDriver]:
    async with opened(server.url) as driver:
        yield driver


async def answers(driver: SqlDriver) -> bool:
    try:
        await driver.ping()
    except DriverUnavailable:
        return False
    return True


class Proxy:
    """Passes bytes until a COMMIT comes by, once armed: then it cuts the connection.

    ``cut`` says when: "before" the server hears of the commit, or "after" it has answered.
    """

    def __init__(self, server: Postgresql) -> None:
        self._server = server
        self.cut: str | None = None
        self.silent_from: bytes | None = None
        """What a connection says after which it hears nothing any more."""

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._listener.sockets[0].getsockname()[1]
        self.url = self._server.url.replace(f":{self._server.port}/", f":{port}/")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._server.port)
        answers = asyncio.ensure_future(self._pass(up_reader, writer))
        while asked := await reader.read(65536):
            if self.cut is not None and asked[5:11] == b"COMMIT":  # a simple query
                when, self.cut = self.cut, None
                answers.cancel()
                await asyncio.wait({answers})
                if when == "after":
                    up_writer.write(asked)
                    await up_reader.read(65536)
                break
            if self.silent_from is not None and self.silent_from in asked:
                self.silent_from = None
                answers.cancel()
                await asyncio.wait({answers})
            up_writer.write(asked)
        writer.close()
        up_writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()


@pytest.mark.fault(45)
@pytest.mark.parametrize("cut", ["before", "after"])
async def test_a_commit_whose_answer_is_lost(server: Postgresql, cut: str) -> None:
    """Whether it was done is found out by doing it again: by ids, by the nonce, by the fences."""
    async with Proxy(server) as proxy, opened(proxy.url) as driver:
        await push(driver, "first")
        proxy.cut = cut
        jobs = [NewJob("a", b"a"), NewJob("b", b"b")]
        with pytest.raises(DriverUnavailable) as caught:
            await driver.enqueue(Q, jobs)
        assert caught.value.ids == ("a", "b")
        assert await driver.enqueue(Q, jobs) == [cut == "before"] * 2
        proxy.cut = cut
        with pytest.raises(DriverUnavailable):
            await driver.exchange(Q, ME, want=2, nonce=1_000_000)
        held = (await driver.exchange(Q, ME, want=2, nonce=1_000_000)).jobs
        assert [job.id for job in held] == ["first", "a"]
        proxy.cut = cut
        with pytest.raises(DriverUnavailable):
            await driver.exchange(Q, ME, [ack(job) for job in held], nonce=1_000_001)
        lost = await settle(driver, *map(ack, held))
        assert lost == ([] if cut == "before" else ["a", "first"])
        stats = (await driver.stats([Q]))[Q]
        assert (stats.ready, stats.reserved, stats.enqueued_total) == (1, 0, 3)


@pytest.mark.fault(45)
async def test_connections_that_are_terminated_are_made_anew(
    server: Postgresql, driver: SqlDriver
) -> None:
    held = await hold(driver, "a")
    server.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
    )
    with pytest.raises(DriverUnavailable, match="ended the connection") as caught:
        await driver.ping()
    assert "\n" not in str(caught.value)
    assert await settle(driver, ack(held)) == []


JOBS = """
import asyncio, os
from queued import Job

class Note(Job):
    path: str

    async def handle(self):
        await asyncio.sleep(0.01)
        with open(self.path, "a") as file:
            file.write(f"{self.job_id}\\n")
"""
CONFIG = """
connection: "{connection}"
imports: [work]
http: {{listen: "127.0.0.1:0"}}
queues:
  emails: {{processes: 2, concurrency: 5, sleep: 600}}
"""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Callable[[str], Daemon]]:
    made: list[Daemon] = []

    def make(connection: str) -> Daemon:
        made.append(Daemon(tmp_path, CONFIG.format(connection=connection), jobs=JOBS))
        return made[-1].start()

    yield make
    for one in made:
        one.clean_up()


@pytest.mark.fault(45)
@pytest.mark.timeout(180)
def test_a_daemon_outlives_crashes_of_its_server(
    server: Postgresql, daemon: Callable[[str], Daemon], tmp_path: Path
) -> None:
    """Idle workers sleep for ten minutes here: it is pushes, and their own look, that wake them."""
    running = daemon(server.url)
    notes, acknowledged, stop = tmp_path / "notes", list[str](), threading.Event()
    payload = b'{"v":1,"job":"work.Note"}\n{"path":"%s"}' % str(notes).encode()

    async def produce() -> None:
        driver, number = SqlDriver(server.url), 0
        while not stop.is_set():
            batch = [NewJob(f"job-{number + n}", payload) for n in range(5)]
            with contextlib.suppress(DriverUnavailable):
                await driver.enqueue("emails", batch)
                acknowledged.extend(job.id for job in batch)
            number += 5
            await asyncio.sleep(0.01)
        await driver.close()

    producer = threading.Thread(target=lambda: asyncio.run(produce()))
    producer.start()

    def done() -> set[str]:
        return set(notes.read_text().split()) if notes.exists() else set()

    try:
        for crash in (server.kill, server.stop):
            so_far = len(done())
            sync_until(lambda n=so_far: len(done()) > n + 20, "jobs to run")  # type: ignore[misc]
            crash()
            server.start()
    finally:
        stop.set()
        producer.join()
    sync_until(lambda: set(acknowledged) <= done(), "all acknowledged jobs to be done", 60)

    def states() -> list[int]:
        query = "SELECT ready + scheduled + reserved, failed FROM queued_queues"
        [row] = server.run(query)
        return list(row)

    sync_until(lambda: states() == [0, 0], "the queue to be empty, and nothing failed")
    assert server.run("SELECT count(*) FROM queued_jobs") == [(0,)]
    assert "not-checked" not in running.output()  # the URL's password
    assert running.stop() == 0


@pytest.mark.fault(45)
async def test_a_standby_takes_no_writes_until_it_is_promoted(server: Postgresql) -> None:
    async with opened(server.url) as driver:
        await push(driver, "a")
        signal = server.folder / "data" / "standby.signal"
        server.stop()
        signal.touch()
        server.start()
        with contextlib.suppress(DriverUnavailable):
            await driver.ping()  # over the connection that broke
        with pytest.raises(DriverUnavailable, match="takes no writes"):
            await driver.enqueue(Q, [NewJob("b", b"")])
        assert (await driver.stats([Q]))[Q].ready == 1
        server.run("SELECT pg_promote()")
        await until(lambda: answers(driver))
        assert await drain(driver) == ["a"]


LISTENERS = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
OURS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'queued'"
MODEST = "SELECT pid FROM pg_stat_activity WHERE usename = 'modest'"


@pytest.mark.fault(46)
async def test_a_listener_that_dies_is_replaced_and_misses_nothing(
    server: Postgresql, driver: SqlDriver
) -> None:
    async with opened(server.url) as waiter:
        while await waiter._database.wait(Q, 0.1):
            pass
        waiting = asyncio.ensure_future(waiter._database.wait(Q, 600))
        [(first,)] = server.run(LISTENERS)
        server.run(f"SELECT pg_terminate_backend({first}, 5000)")
        await push(driver, "a")
        async with asyncio.timeout(WITHIN):
            assert await waiting
        assert await drain(waiter) == ["a"]
        waiting = asyncio.ensure_future(waiter._database.wait(Q, 600))

        async def replaced() -> bool:
            return server.run(LISTENERS) not in ([], [(first,)])

        await until(replaced)
        await push(driver, "b")
        async with asyncio.timeout(WITHIN):
            assert await waiting


@pytest.mark.fault(46)
async def test_without_a_listener_workers_poll(server: Postgresql, driver: SqlDriver) -> None:
    """The server has one connection left for this user."""
    server.run("DROP ROLE IF EXISTS modest")
    server.run("CREATE ROLE modest LOGIN CONNECTION LIMIT 1 IN ROLE pg_read_all_data")
    server.run("GRANT pg_write_all_data TO modest")
    async with opened(server.url.replace("queued:", "modest:")) as waiter:
        own = server.run(MODEST)
        while await waiter._database.wait(Q, 0.1):
            pass
        waiting = asyncio.ensure_future(waiter._database.wait(Q, 600))
        assert server.run(LISTENERS) == []
        assert server.run(MODEST) == own, "the one that it has was given up for a second one"
        await push(driver, "a")
        async with asyncio.timeout(WITHIN):
            assert await waiting
        assert await drain(waiter) == ["a"]


async def test_news_that_comes_during_a_look_is_not_missed(server: Postgresql) -> None:
    driver = SqlDriver(server.url)
    database = driver._database
    assert isinstance(database, postgresql.PostgresqlDatabase)
    notices = database._notices
    try:
        await driver._database.wait(Q, 0)
        notices.hear()
        await push(driver, "a")

        async def heard() -> bool:
            return notices._heard.is_set()

        await until(heard)
        assert await notices.changed(0.05)
        notices.hear()
        assert not await notices.changed(0.05)
    finally:
        await driver.close()


@pytest.mark.parametrize("silent_from", [b"SET lock_timeout", b"LISTEN"])
async def test_a_server_that_falls_silent_while_a_connection_is_made_ready(
    server: Postgresql, monkeypatch: pytest.MonkeyPatch, silent_from: bytes
) -> None:
    async with Proxy(server) as proxy, opened(proxy.url) as driver:
        await push(driver, "a")
        if silent_from != b"LISTEN":
            await driver.close()
        # long enough to get as far as the silence: all of a connection's making is one call
        monkeypatch.setattr(postgresql, "CALL_WITHIN", 3.0)
        proxy.silent_from = silent_from
        if silent_from == b"LISTEN":
            await driver._database.wait(Q, 0)
        else:
            with pytest.raises(DriverUnavailable, match="no answer within"):
                await driver.ping()
        assert proxy.silent_from is None
        monkeypatch.undo()
        async with asyncio.timeout(WITHIN):
            assert await drain(driver) == ["a"]


async def test_a_close_that_is_cancelled_closes_all_the_same(server: Postgresql) -> None:
    driver = SqlDriver(server.url)
    await driver.open()
    closing = asyncio.ensure_future(driver.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait({closing})

    async def closed() -> bool:
        return server.run(OURS) == []

    await until(closed)


async def test_a_fork_does_not_keep_a_connection(server: Postgresql, driver: SqlDriver) -> None:
    await driver._database.wait(Q, 0)
    assert len(server.run(OURS)) == 2
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    try:
        await push(driver, "a")  # the parent's work on
        assert await drain(driver) == ["a"]
        database = driver._database
        assert isinstance(database, postgresql.PostgresqlDatabase)
        for link in (database._server._connection, database._notices._connection):
            assert link is not None
            assert os.readlink(f"/proc/{pid}/fd/{link.fileno()}") == os.devnull  # noqa: PTH115
    finally:
        os.close(writer)
        os.close(reader)
        os.waitpid(pid, 0)  # noqa: ASYNC222 - it ends at once


async def test_a_database_without_an_encoding_gives_texts(server: Postgresql) -> None:
    """What initdb makes where no locale is set."""
    server.run("DROP DATABASE IF EXISTS plain WITH (FORCE)")
    server.run("CREATE DATABASE plain ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'")
    async with opened(server.url.replace("/postgres", "/plain")) as driver:
        await push(driver, "a")
        [job] = await reserve(driver, 1)
        assert job.id == "a"
        assert await settle(driver, ack(job)) == []


async def test_a_server_that_stands_still_hangs_nobody(
    server: Postgresql, driver: SqlDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await push(driver, "a")
    monkeypatch.setattr(postgresql, "CALL_WITHIN", 0.3)
    server.pause()
    try:
        with pytest.raises(DriverUnavailable, match="no answer within"):
            await driver.enqueue(Q, [NewJob("b", b"")])
    finally:
        server.resume()
    monkeypatch.undo()
    await until(lambda: answers(driver))
    assert (await reserve(driver, 1))[0].id == "a"


async def test_a_lock_that_is_kept_is_reported(
    server: Postgresql, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = postgresql_server._SETTINGS.replace("lock_timeout = '5s'", "lock_timeout = '0.2s'")
    monkeypatch.setattr(postgresql_server, "_SETTINGS", settings)
    async with opened(server.url) as driver:
        held = await hold(driver, "a")
        with server.connect() as other, other.transaction():
            other.execute(f"SELECT pg_advisory_xact_lock({postgresql_server.lock_of(Q)})")
            with pytest.raises(DriverUnavailable, match="kept the lock"):
                await settle(driver, ack(held))
            await push(driver, "b", queue="other")  # is not concerned
            assert (await driver.stats([Q]))[Q].reserved == 1
        assert await settle(driver, ack(held)) == []


async def test_tables_that_were_dropped_are_made_anew(
    server: Postgresql, driver: SqlDriver
) -> None:
    await push(driver, *names(3))
    server.run("DROP SCHEMA public CASCADE")
    server.run("CREATE SCHEMA public")
    with pytest.raises(DriverUnavailable, match="tables are missing"):
        await driver.enqueue(Q, [NewJob("a", b"")])
    await push(driver, "a")
    assert await drain(driver) == ["a"]


async def test_tables_of_a_newer_version_are_left_alone(server: Postgresql) -> None:
    server.run("CREATE TABLE queued_queues (theirs int)")
    driver = SqlDriver(server.url)
    with pytest.raises(DriverUnavailable, match="newer queued or to another program"):
        await driver.open()
    await driver.close()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("/postgres", "/nowhere"), 'database "nowhere" does not exist'),
        (("127.0.0.1:", "127.0.0.1:1"), "refused|invalid port"),
        (("queued:", "stranger:"), 'role "stranger" does not exist'),
    ],
)
async def test_what_cannot_be_reached_is_named_in_one_line(
    server: Postgresql, change: tuple[str, str], says: str
) -> None:
    driver = SqlDriver(server.url.replace(*change))
    with pytest.raises(DriverUnavailable, match=says) as caught:
        await driver.open()
    assert "\n" not in str(caught.value)
    assert "not-checked" not in str(caught.value)
    await driver.close()


@pytest.mark.parametrize("rest", ["u:s3cret@h/db?nonsense=1", "u:s3cret@h:x y/db"])
def test_urls_that_cannot_be_read(rest: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SqlDriver(f"postgresql://{rest}")
    assert "s3cret" not in str(caught.value)


async def test_a_queue_that_a_transaction_keeps_locked_holds_up_no_other(
    driver: SqlDriver, server: Postgresql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it look like an outage, after which nobody would be reaped for a whole lease."""
    settings = postgresql_server._SETTINGS.replace("lock_timeout = '5s'", "lock_timeout = '0.2s'")
    monkeypatch.setattr(postgresql_server, "_SETTINGS", settings)
    await driver.close()  # its next connection has them
    await push(driver, "a")
    janitor = Janitor(driver, Metrics())
    schedules = {q: ScheduleSpec(job="app.Send", queue=q, every=60.0) for q in (Q, "other")}
    scheduler = Scheduler(driver, janitor.reach, schedules)
    with server.connect() as other, other.transaction():
        other.execute(f"SELECT pg_advisory_xact_lock({postgresql_server.lock_of(Q)})")
        with pytest.raises(QueueUnavailable, match="lock"):
            await janitor.renew({Q: ["me"], "other": ["you"]})
        with pytest.raises(QueueUnavailable):
            await scheduler.turn()
        assert janitor.reach.up
        assert "lock" in janitor.reach.error
    assert list(await driver.owners("other")) == ["you"]
    assert list((await driver.ticks("other")).last) == ["other"]
    assert await driver.owners(Q) == {}
