"""One connection to one SQLite file: created at first use, one transaction a verb, clear errors.

A transaction that writes begins with BEGIN IMMEDIATE: one that takes its lock later fails at once
when somebody else wrote meanwhile. Another's lock is waited for in small steps with jitter, because
SQLite's own handler sleeps for up to 100 ms at a time: among eight writers the slowest 1 % waited
330 ms by it, 60 ms by this.

``now`` is this process's clock. SQLite has no other: it is a library, and reads the same clock of
the same host, to the millisecond.
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar
from weakref import WeakSet

from queued.drivers.sql.schema import SCHEMA_VERSION, creation, upgrade
from queued.drivers.sql.session import Session
from queued.drivers.sql.sqlite_dialect import DIALECT
from queued.errors import DriverUnavailable
from queued.folders import make_private

T = TypeVar("T")

OLDEST = (3, 35, 0)
BUSY_TIMEOUT = 5.0
"""Seconds that a verb waits for another process's transaction."""

_PRAGMAS = (
    "synchronous = FULL",  # in WAL mode too: what was acknowledged survives a power cut
    "secure_delete = FAST",  # some builds have ON, which writes every freed page once more
    "journal_size_limit = 67108864",
    "cache_size = -16384",  # KiB
)

_REASONS = {
    sqlite3.SQLITE_BUSY: f"another process kept it locked for {BUSY_TIMEOUT:g} s",
    sqlite3.SQLITE_READONLY: "it cannot be written: check its permissions and its folder's",
    sqlite3.SQLITE_IOERR: "reading or writing it failed; check the disk",
    sqlite3.SQLITE_CORRUPT: "it is damaged; restore it, or salvage it with sqlite3's .recover",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check its folder and its permissions",
    sqlite3.SQLITE_NOTADB: "it is not an SQLite database",
}
_HARMLESS = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL}  # the connection is as good as before
_OUR_FAULTS = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError)


def _code(error: sqlite3.Error) -> int:
    """Return an error's primary result code; 0 for one that SQLite did not report."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


class SqliteFile:
    """A database file, connected when first needed, and used by one thread at a time.

    The connection is closed around a fork, and opened anew when it is next needed: SQLite keeps its
    locks in the memory of the process, so that a child whose parent had the file open would see
    locks that nobody holds, even through a connection of its own.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._identity = (0, 0)
        self._connections = 0
        _files.add(self)

    def write(self, verb: Callable[[Session], T]) -> T:
        """Run a verb under the write lock. It may commit early, and then only read."""
        with self._connected() as connection:
            _patiently(lambda: connection.execute("BEGIN IMMEDIATE"))
            return _within(connection, verb)

    def read(self, verb: Callable[[Session], T]) -> T:
        """Run a verb over one snapshot; again when SQLite was busy, since it changes nothing."""

        def attempt() -> T:
            connection.execute("BEGIN")
            return _within(connection, verb)

        with self._connected() as connection:
            return _patiently(attempt)

    def glance(self, verb: Callable[[Session], T]) -> tuple[tuple[int, int, int], T]:
        """Run a verb of one statement; return with it what differs once anybody has committed.

        That is asked first, so that what is committed meanwhile shows up at the next glance.
        """

        def attempt() -> tuple[tuple[int, int, int], T]:
            [[others]] = connection.execute("PRAGMA data_version").fetchall()
            version = self._connections, others, connection.total_changes
            return version, verb(Session(connection, DIALECT, time.time()))

        with self._connected() as connection:
            return _patiently(attempt)

    def connect(self) -> None:
        """Create the file, its folder and its tables where they are missing."""
        with self._connected():
            pass

    def close(self) -> None:
        with self._lock:
            self._disconnect()

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection; a new one when the file was removed or replaced under the old."""
        with self._lock, self._reporting():
            if self._connection is None or _identity(self.path) != self._identity:
                self._disconnect()
                self._connection = _connect(self.path)
                self._identity = _identity(self.path)
                self._connections += 1
            yield self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def before_fork(self) -> bool:
        """Close between two transactions, and stay closed; return False when none ended in time."""
        locked = self._lock.acquire(timeout=2 * BUSY_TIMEOUT)
        if locked:
            self._disconnect()
        return locked

    def after_fork(self) -> None:
        self._lock.release()

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """Raise ``DriverUnavailable`` for what SQLite or the file system reports."""
        try:
            yield
        except _OUR_FAULTS:
            raise
        except sqlite3.Error as error:
            if _code(error) not in _HARMLESS:
                self._disconnect()
            reason = _REASONS.get(_code(error), "it cannot be used")
            raise DriverUnavailable(f"SQLite database {self.path}: {reason} ({error})") from error
        except OSError as error:
            reason = error.strerror or str(error)
            if isinstance(error, (FileNotFoundError, NotADirectoryError, PermissionError)):
                reason += "; check its folder and its permissions"
            raise DriverUnavailable(f"SQLite database {self.path}: {reason}") from error


_files: WeakSet[SqliteFile] = WeakSet()
_forking = threading.Lock()
_held: list[SqliteFile] = []


def _before_fork() -> None:
    _forking.acquire()
    _held.extend(file for file in list(_files) if file.before_fork())


def _after_fork() -> None:
    while _held:
        _held.pop().after_fork()
    if _forking.locked():  # uvloop says it twice in a child that a thread forks as the loop does
        _forking.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)


def _within(connection: sqlite3.Connection, verb: Callable[[Session], T]) -> T:
    """Run a verb in the transaction that has begun, and end it."""
    try:
        result = verb(Session(connection, DIALECT, time.time()))
        if connection.in_transaction:
            connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        raise
    return result


def _patiently(attempt: Callable[[], T]) -> T:
    """Repeat what finds the database busy, for ``BUSY_TIMEOUT``."""
    deadline, pause = time.monotonic() + BUSY_TIMEOUT, 0.001
    while True:
        try:
            return attempt()
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - so that writers do not march in step
        pause = min(1.1 * pause, 0.01)


def _identity(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_dev, found.st_ino


def _connect(path: Path) -> sqlite3.Connection:
    make_private(path.parent)
    with suppress(
        FileExistsError
    ):  # and is not touched: closing it would drop this process's locks
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    connection = sqlite3.connect(
        path, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    try:
        _patiently(lambda: _prepare(connection, path))
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    if sqlite3.sqlite_version_info < OLDEST:
        raise DriverUnavailable(
            f"this Python has SQLite {sqlite3.sqlite_version}; "
            f"queued needs {'.'.join(map(str, OLDEST))} at least"
        )
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
    [[mode]] = connection.execute("PRAGMA journal_mode = WAL").fetchall()
    if mode != "wal":
        raise DriverUnavailable(f"SQLite database {path}: its file system cannot do WAL mode")
    if _schema_version(connection) != SCHEMA_VERSION:
        connection.execute("BEGIN IMMEDIATE")
        _within(connection, lambda _: _create(connection, path))


def _schema_version(connection: sqlite3.Connection) -> int:
    [[version]] = connection.execute("PRAGMA user_version").fetchall()
    return int(version)


def _create(connection: sqlite3.Connection, path: Path) -> None:
    """Create the tables, or bring them up to date, unless another process was faster."""
    for statement in missing(_schema_version(connection), path):
        connection.execute(statement)


def missing(version: int, path: Path) -> list[str]:
    """Return the statements that make the tables of a file with that ``user_version`` today's.

    :raises DriverUnavailable: it is not one of ours.
    """
    if version == SCHEMA_VERSION:
        return []
    if not 0 <= version < SCHEMA_VERSION:
        raise DriverUnavailable(
            f"SQLite database {path}: its user_version is {version}, and this queued knows only "
            f"{SCHEMA_VERSION}; it belongs to a newer queued or to another program"
        )
    made = upgrade(DIALECT, version) if version else creation(DIALECT)
    return [*made, f"PRAGMA user_version = {SCHEMA_VERSION}"]
