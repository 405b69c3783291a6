"""The SQLite file: created at first use, locked, full, read-only, damaged, replaced."""
# ruff: noqa: ASYNC240 - files are looked at while nothing else runs

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import threading
import traceback
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from sqlalchemy import delete

from queued.drivers import driver_for
from queued.drivers.base import NewJob
from queued.drivers.sequel import Parcel, Sequel
from queued.drivers.sql import SqlDriver, outbox, sqlite_file
from queued.drivers.sql.schema import SCHEMA_VERSION, jobs
from queued.drivers.sql.session import Session, Statement
from queued.errors import ConfigError, DriverUnavailable
from tests.contract.steps import (
    ME,
    WITHIN,
    Q,
    ack,
    drain,
    failed_job,
    hold,
    names,
    push,
    release,
    reserve,
    settle,
    size,
)

IN_MEMORY = ["sqlite://", "sqlite:///:memory:"]
NO_FILE = ["sqlite://host/queued.db", "sqlite:///queued.db?mode=ro"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made" / "queued.db"


@pytest.fixture
async def driver(path: Path) -> AsyncIterator[SqlDriver]:
    driver = SqlDriver(f"sqlite:///{path}")
    yield driver
    await driver.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT", 0.2)


@contextmanager
def another(path: Path) -> Iterator[sqlite3.Connection]:
    """Another program's connection."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


async def on_its_connection(driver: SqlDriver, statement: str) -> list[Any]:
    """Run a statement on the driver's own connection, on its own thread."""
    database: Any = driver._database

    def run() -> list[Any]:
        with database._file._connected() as connection:
            answer: list[Any] = connection.execute(statement).fetchall()
            return answer

    answer: list[Any] = await database._call(run)
    return answer


async def test_created_at_first_use(driver: SqlDriver, path: Path) -> None:
    await driver.open()
    await push(driver, "a")
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    for suffix in ("", "-wal", "-shm"):
        file = path.with_name(path.name + suffix)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert await on_its_connection(driver, "PRAGMA journal_mode") == [("wal",)]
    assert await on_its_connection(driver, "PRAGMA synchronous") == [(2,)]  # FULL
    assert await on_its_connection(driver, "PRAGMA user_version") == [(SCHEMA_VERSION,)]


async def test_what_is_there_is_taken_over(driver: SqlDriver, path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    path.chmod(0o644)
    await driver.open()
    await push(driver, "a")
    await driver.close()
    await driver.open()
    assert await drain(driver) == ["a"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


async def test_a_relative_path_is_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    driver = driver_for("sqlite:///queued.db")
    monkeypatch.chdir("/")
    await driver.open()
    await driver.close()
    assert (tmp_path / "queued.db").exists()


@pytest.mark.parametrize("url", [*IN_MEMORY, *NO_FILE, "postgresql://u:secret@h:x/db", "nothing"])
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SqlDriver(url)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_operators_read_failed_jobs_with_plain_sql(driver: SqlDriver, path: Path) -> None:
    await failed_job(driver, "a", hook=30)
    await failed_job(driver, "b")
    query = "SELECT id, queue, CAST(record AS TEXT), hook_at - failed_at FROM queued_failed"
    with another(path) as connection:
        rows = connection.execute(query).fetchall()
    assert rows == [("a", Q, "why a", pytest.approx(30)), ("b", Q, "why b", None)]


# another process holds the lock
@pytest.mark.fault(44)
async def test_a_lock_is_waited_for(driver: SqlDriver, path: Path) -> None:
    await driver.open()
    with another(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        pushing = asyncio.ensure_future(push(driver, "a"))
        assert await size(driver) == 0  # behind the push, on the same thread: it is not refused
        await asyncio.sleep(0)
        connection.execute("ROLLBACK")
        await pushing
    assert await drain(driver) == ["a"]


@pytest.mark.fault(44)
@pytest.mark.usefixtures("impatient")
async def test_a_lock_that_is_kept_is_reported(driver: SqlDriver, path: Path) -> None:
    held = await hold(driver, "held")
    with another(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(DriverUnavailable, match="locked") as caught:
            await driver.enqueue(Q, [NewJob("a", b""), NewJob("b", b"")])
        assert caught.value.ids == ("a", "b")
        with pytest.raises(DriverUnavailable, match="locked"):
            await driver.exchange(Q, ME, [ack(held)], want=1, nonce=10_000_000)
        with pytest.raises(DriverUnavailable, match="locked"):
            await driver.ping()
        stats = (await driver.stats([Q]))[Q]  # who only reads is not concerned
        assert (stats.ready, stats.reserved) == (0, 1)
        connection.execute("ROLLBACK")
    await driver.ping()
    answer = await driver.exchange(Q, ME, [ack(held)], want=1, nonce=10_000_000)
    assert (answer.jobs, answer.lost) == ([], [])


@pytest.mark.usefixtures("impatient")
async def test_opening_waits_for_a_lock_and_may_be_repeated(driver: SqlDriver, path: Path) -> None:
    path.parent.mkdir()
    with another(path) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DriverUnavailable, match="locked"):
            await driver.open()
        connection.execute("ROLLBACK")
    await driver.open()
    await push(driver, "a")


@pytest.mark.fault(43)
async def test_a_full_disk_refuses_pushes_and_takes_acknowledgements(driver: SqlDriver) -> None:
    big = [NewJob(name, b"x" * 4000) for name in names(50)]
    assert all(await driver.enqueue(Q, big))
    held = await reserve(driver, 10)
    [(pages,)] = await on_its_connection(driver, "PRAGMA page_count")
    await on_its_connection(driver, f"PRAGMA max_page_count = {pages}")
    more = [NewJob(name, b"x" * 4000) for name in names(50, "more")]
    with pytest.raises(DriverUnavailable, match="full") as caught:
        await driver.enqueue(Q, more)
    assert caught.value.ids == tuple(names(50, "more"))
    assert await settle(driver, *map(ack, held)) == []
    assert await size(driver) == 40
    assert await driver.find("more-0000") is None
    assert all(await driver.enqueue(Q, more[:5]))  # into the room that was made
    assert await drain(driver) == names(50)[10:] + names(5, "more")


def in_a_child(act: Callable[[], None]) -> None:
    """Run ``act`` in a forked child; fail when it fails."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside idle threads
        child = os.fork()
    if child == 0:
        status = 1
        try:
            act()
            status = 0
        except BaseException:  # shown with the failing test
            traceback.print_exc()
            raise
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def refused_to_nobody(path: Path) -> None:
    """Assert that who has no rights of root's is told clearly that it cannot push."""

    async def push() -> None:
        driver = SqlDriver(f"sqlite:///{path}")
        with pytest.raises(DriverUnavailable, match=r"^[^\n]*(permission|denied)") as caught:
            await driver.enqueue(Q, [NewJob("b", b"")])
        assert str(path) in str(caught.value)
        assert caught.value.ids == ("b",)
        with pytest.raises(DriverUnavailable, match=r"permission|denied"):
            await driver.ping()
        await driver.close()

    def act() -> None:
        if os.getuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        asyncio.run(push())

    in_a_child(act)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that everybody can reach (pytest's are not), and only its owner write."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755 if os.getuid() == 0 else 0o555)
        yield folder
        folder.chmod(0o755)


@pytest.mark.parametrize("name", ["queued.db", "made/queued.db"])
def test_a_folder_that_cannot_be_written(shared: Path, name: str) -> None:
    refused_to_nobody(shared / name)


@pytest.mark.parametrize("mode", [0o555, 0o777])
def test_a_file_that_cannot_be_written(shared: Path, mode: int) -> None:
    shared.chmod(0o777)
    path = shared / "queued.db"
    with asyncio.Runner() as runner:
        driver = SqlDriver(f"sqlite:///{path}")
        runner.run(push(driver, "a"))
        runner.run(driver.close())
    path.chmod(0o444)
    shared.chmod(mode)
    refused_to_nobody(path)


async def test_a_file_that_is_no_database(driver: SqlDriver, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"these are not the bytes you are looking for\n" * 100)
    before = path.read_bytes()
    with pytest.raises(DriverUnavailable, match="not an SQLite database"):
        await driver.open()
    assert path.read_bytes() == before


async def test_a_folder_in_place_of_the_file(driver: SqlDriver, path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(DriverUnavailable, match="cannot be opened"):
        await driver.open()


async def test_a_damaged_database(driver: SqlDriver, path: Path) -> None:
    await push(driver, *names(1000))
    await driver.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 2 * 4096))
    with pytest.raises(DriverUnavailable, match="damaged"):
        await driver.exchange(Q, ME, want=10, nonce=1)


async def test_another_programs_database_is_left_alone(driver: SqlDriver, path: Path) -> None:
    path.parent.mkdir()
    with another(path) as connection:
        connection.execute("PRAGMA user_version = 7")
        connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(DriverUnavailable, match="another program"):
        await driver.open()
    with another(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]


async def test_a_database_that_was_removed_is_made_anew(driver: SqlDriver, path: Path) -> None:
    """A daemon must not go on with a file that nobody else can see any more."""
    await push(driver, "a")
    for file in path.parent.iterdir():
        file.unlink()
    assert await size(driver) == 0
    await push(driver, "b")
    other = SqlDriver(f"sqlite:///{path}")
    assert await drain(other) == ["b"]
    await other.close()


async def test_waiting_goes_on_after_a_database_was_made_anew(
    driver: SqlDriver, path: Path
) -> None:
    await driver.open()
    for file in path.parent.iterdir():
        file.unlink()
    while await driver._database.wait(Q, 0.05):
        pass
    waiting = asyncio.ensure_future(driver._database.wait(Q, 60))
    other = SqlDriver(f"sqlite:///{path}")
    await push(other, "a")
    async with asyncio.timeout(10):
        assert await waiting
    await other.close()


async def test_purge_puts_counts_right_that_were_edited_away(driver: SqlDriver, path: Path) -> None:
    await push(driver, *names(5))
    with another(path) as connection:
        connection.execute("DELETE FROM queued_jobs WHERE id = 'job-0001'")
        connection.execute("UPDATE queued_queues SET scheduled = -3")
    assert await driver.purge(Q) == 4
    assert await size(driver) == 0


async def test_dropped_tables_are_reported(driver: SqlDriver, path: Path) -> None:
    await driver.open()
    with another(path) as connection:
        connection.execute("DROP TABLE queued_queues")
    with pytest.raises(DriverUnavailable, match="no such table"):
        await push(driver, "a")


# cancellation, forks
@pytest.mark.parametrize("began", [False, True])
async def test_a_cancelled_verb_leaves_no_transaction_open(
    driver: SqlDriver, path: Path, monkeypatch: pytest.MonkeyPatch, *, began: bool
) -> None:
    """It is dropped before it began, or ends by itself: whole, and the next one works."""
    held = await hold(driver, "held")
    patiently, begun = sqlite_file._patiently, threading.Event()

    def announced(attempt: Callable[[], Any]) -> Any:
        begun.set()
        return patiently(attempt)

    monkeypatch.setattr(sqlite_file, "_patiently", announced)
    with another(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        first = asyncio.ensure_future(settle(driver, release(held)))
        second = asyncio.ensure_future(push(driver, "a"))
        # the first waits for the lock, the second for its turn
        assert await asyncio.to_thread(begun.wait, WITHIN)
        cancelled = first if began else second
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        connection.execute("ROLLBACK")
    await (second if began else first)
    assert await on_its_connection(driver, "BEGIN IMMEDIATE") == []  # fails inside a transaction
    await on_its_connection(driver, "ROLLBACK")
    assert await drain(driver) == (["held", "a"] if began else ["held"])


async def test_a_verb_that_fails_leaves_no_transaction_open(driver: SqlDriver) -> None:
    await push(driver, "a")

    def broken(session: Session) -> None:
        session.run(Statement(delete(jobs)))
        raise LookupError

    with pytest.raises(LookupError):
        await driver._database.write(broken)
    assert await drain(driver) == ["a"]


def test_a_driver_is_not_used_across_a_fork(path: Path) -> None:
    driver = SqlDriver(f"sqlite:///{path}")

    def act() -> None:
        with pytest.raises(RuntimeError, match="fork"):
            asyncio.run(driver.ping())

    with asyncio.Runner() as runner:
        runner.run(driver.ping())
        in_a_child(act)
        runner.run(driver.ping())
        runner.run(driver.close())


def test_a_child_may_open_the_file_that_its_parent_has_open(path: Path) -> None:
    """A pre-fork web server that pushed before it forked; a job that forks and pushes.

    SQLite's own locks are inherited with the memory: a child forked during a transaction of its
    parent would find the file locked for ever.
    """
    url = f"sqlite:///{path}"

    async def push_one(name: str) -> None:
        driver = SqlDriver(url)
        await push(driver, name)
        await driver.close()

    async def push_until(stop: threading.Event) -> int:
        driver = SqlDriver(url)
        number = 0
        while not stop.is_set():
            await push(driver, f"parent-{number}")
            number += 1
        await driver.close()
        return number

    stop = threading.Event()
    with ThreadPoolExecutor(1) as parent:
        pushing = parent.submit(lambda: asyncio.run(push_until(stop)))
        for number in range(10):
            in_a_child(lambda n=number: asyncio.run(push_one(f"child-{n}")))  # type: ignore[misc]
        stop.set()
        pushed = pushing.result()

    async def count() -> int:
        driver = SqlDriver(url)
        answer = await size(driver)
        await driver.close()
        return answer

    assert asyncio.run(count()) == pushed + 10
    with another(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_a_database_from_before_pauses_is_brought_up_to_date(
    driver: SqlDriver, path: Path
) -> None:
    await push(driver, "a")
    await driver.close()
    with another(path) as connection:
        for column in ("paused_at", "paused_by", "pause_reason", "opens_at", "token_seconds"):
            connection.execute(f"ALTER TABLE queued_queues DROP COLUMN {column}")
        connection.execute("PRAGMA user_version = 4")
    assert (await driver.stats([Q]))[Q].paused is None
    assert await driver.pause(Q, "ada", "why")
    assert await driver.resume(Q)
    assert await drain(driver) == ["a"]


async def test_what_is_forwarded_in_one_transaction_is_bounded_by_its_size(
    driver: SqlDriver,
) -> None:
    """A thousand payloads of a megabyte would be in memory at once, and one lock all that time."""
    await driver.open()
    large = b"x" * (3 << 20)
    for number in range(5):
        then = Parcel("other", NewJob(f"b{number}", large)).packed()
        await driver.enqueue(Q, [NewJob(f"a{number}", b"", sequel=Sequel(then=then).packed())])
    await drain(driver)
    assert await driver._database.write(outbox.deliver, "other", Q, 1_000) == 2
    assert await driver.forward(Q) == 3
    assert await drain(driver, queue="other") == [f"b{number}" for number in range(5)]
