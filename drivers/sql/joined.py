"""Enqueueing in a transaction of the caller's own, over a connection of SQLAlchemy's.

The jobs are there when that commits, and never were when it rolls back. From the first of them to
its end the transaction holds the queue's lock (in SQLite the database's), as any verb does: whoever
takes long in between keeps the workers waiting. PostgreSQL therefore ends a transaction that has
enqueued and then stands idle for ten seconds.

The statements are the driver's own, run by SQLAlchemy, so that every DBAPI module it knows will do.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import BigInteger, Connection, String, bindparam, make_url, text
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.exc import OperationalError

from queued.drivers.base import Enqueued, NewJob
from queued.drivers.sql.enqueue import enqueue
from queued.drivers.sql.session import Cursor, Session, Statement
from queued.drivers.sql.sqlite_file import missing
from queued.errors import DriverError

if TYPE_CHECKING:
    from queued.drivers.sql.postgresql_server import PostgresqlServer

_LOCK_FILE = text("UPDATE queued_queues SET fence = fence WHERE queue = ''")
_FILE = text("SELECT file FROM pragma_database_list WHERE name = 'main'")
_IDENTITY = Statement(
    text(
        "SELECT current_database(), CAST(extract(epoch FROM pg_postmaster_start_time()) AS text),"
        " (SELECT CAST(oid AS bigint) FROM pg_class"
        "  WHERE relname = 'queued_queues' AND pg_table_is_visible(oid))"
    )
)
_LOCK = text("SELECT pg_advisory_xact_lock(:lock), CAST(pg_current_xact_id() AS text)").bindparams(
    bindparam("lock", type_=BigInteger)
)
_TOUCH = text("UPDATE queued_queues SET fence = fence WHERE queue = :queue").bindparams(
    bindparam("queue", type_=String)
)
_GUARD = text(  # a queue's lock must not be kept by somebody who waits for something else
    "SELECT set_config(name, '10s', true) FROM pg_settings WHERE name ="
    " 'idle_in_transaction_session_timeout' AND CAST(setting AS bigint) NOT BETWEEN 1 AND 10000"
)
_NOW = text(
    "SELECT CAST(extract(epoch FROM clock_timestamp()) AS float8),"
    " CAST(pg_current_xact_id() AS text)"
)
_NOTIFY = text("SELECT pg_notify('queued_news', :queue)").bindparams(
    bindparam("queue", type_=String)
)


class Join(Protocol):
    """Enqueues over other people's connections. One that is to another database is refused."""

    def enqueue(self, connection: Connection, queue: str, jobs: Sequence[NewJob]) -> list[Enqueued]:
        """Enqueue as ``Driver.enqueue`` does, in the transaction of ``connection``.

        :raises DriverError: it is no connection to the queue's database, or has no transaction.
        """


def join(url: str) -> Join:
    """Return what enqueues at ``url``, a URL that ``SqlDriver`` takes."""
    if make_url(url).get_backend_name() == "sqlite":
        return SqliteJoin(url)
    return PostgresqlJoin(url)


class JoinedSession(Session):
    """A verb's view of the caller's transaction."""

    def __init__(self, connection: Connection, now: float) -> None:
        self.now = now
        self.news = False
        self._joined = connection

    def _run(self, statement: Statement, parameters: dict[str, Any]) -> Cursor:
        for name, value in parameters.items():
            if type(value) is list:
                parameters[name] = json.dumps(value)
        text_, fixed, order = _compiled(statement, self._joined.dialect)
        parameters |= fixed
        values: Any = parameters if order is None else tuple(parameters[name] for name in order)
        answer: Any = self._joined.exec_driver_sql(text_, values)
        return answer  # type: ignore[no-any-return]

    def commit(self) -> None:
        """End nothing: the transaction is the caller's."""


_Compiled = tuple[str, dict[str, Any], list[str] | None]
_statements: dict[tuple[Statement, str], _Compiled] = {}


def _compiled(statement: Statement, dialect: Dialect) -> _Compiled:
    """Return the text for a DBAPI module, what has its values already, and the order of all.

    The order is None where parameters have names. SQLAlchemy would not run the clause itself: it
    keeps the names of columns for its own parameters.
    """
    key = statement, f"{dialect.name}+{dialect.driver} {dialect.paramstyle}"
    found = _statements.get(key)
    if found is None:
        made: Any = statement.clause.compile(dialect=dialect)
        fixed = {name: value for name, value in made.params.items() if value is not None}
        found = _statements[key] = str(made), fixed, made.positiontup
    return found


class SqliteJoin:
    """Enqueues in the file of the queue."""

    def __init__(self, url: str) -> None:
        self._path = Path(make_url(url).database or "").absolute()

    def enqueue(self, connection: Connection, queue: str, jobs: Sequence[NewJob]) -> list[Enqueued]:
        _check_kind(connection, "sqlite", str(self._path))
        file = connection.execute(_FILE).scalar() or "a database in memory"
        if not _is_same(Path(file), self._path):
            raise _elsewhere(file, str(self._path))
        self._lock(connection)
        driver: Any = connection.connection.driver_connection
        if not driver.in_transaction:
            raise DriverError(_NO_TRANSACTION)
        return enqueue(JoinedSession(connection, time.time()), queue, jobs)

    def _lock(self, connection: Connection) -> None:
        """Take the write lock, and make the tables where they are missing.

        The lock first: what has read cannot write once another one has written.
        """
        try:
            connection.execute(_LOCK_FILE)
        except OperationalError as error:
            if "no such table" not in str(error.orig):
                raise
        version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        statements = missing(version, self._path)
        for statement in statements:
            connection.exec_driver_sql(statement)
        if statements:
            connection.execute(_LOCK_FILE)


class PostgresqlJoin:
    """Enqueues in the database of the queue."""

    def __init__(self, url: str) -> None:
        from queued.drivers.sql.postgresql_server import (  # noqa: PLC0415 - an extra
            PostgresqlServer,
            lock_of,
        )

        self._server: PostgresqlServer = PostgresqlServer(url)
        self._lock_of = lock_of
        self._asking = threading.Lock()
        self._identity: tuple[Any, ...] = ()

    def enqueue(self, connection: Connection, queue: str, jobs: Sequence[NewJob]) -> list[Enqueued]:
        _check_kind(connection, "postgresql", self._server.name)
        self._check(connection)
        _, transaction = connection.execute(_LOCK, {"lock": self._lock_of(queue)}).one()
        now, the_same = connection.execute(_NOW).one()
        if the_same != transaction:
            raise DriverError(_NO_TRANSACTION)
        # What reads as of an earlier moment (REPEATABLE READ) fails here, instead of refusing an id
        # whose job has been done since.
        connection.execute(_TOUCH, {"queue": queue})
        connection.execute(_GUARD)
        session = JoinedSession(connection, now)
        answer = enqueue(session, queue, jobs)
        if session.news:
            connection.execute(_NOTIFY, {"queue": queue})
        return answer

    def _check(self, connection: Connection) -> None:
        """Compare the connection's database with ours, which is asked again if they differ."""
        its = _identity(connection)
        if its != self._identity:
            # Over an asynchronous connection a statement lets other tasks of this thread run, which
            # would wait here for the lock, and for ever.
            with self._asking:
                self._identity = self._ask()
            its = _identity(connection)  # the tables may be new
        if its != self._identity:
            raise _elsewhere(
                f"the database {its[0]} of another server or schema", self._server.name
            )

    def _ask(self) -> tuple[Any, ...]:
        """Say which database the queue is in, over a connection of our own; it makes the tables."""
        try:
            return tuple(self._server.read(lambda session: session.row(_IDENTITY)))
        finally:
            self._server.close()


def _identity(connection: Connection) -> tuple[Any, ...]:
    clause: Any = _IDENTITY.clause
    return tuple(connection.execute(clause).one())


_NO_TRANSACTION = (
    "queue.within() got a connection in AUTOCOMMIT mode: it has no transaction to join; push with"
    " the queue itself, or use a connection without that"
)


def _check_kind(connection: Connection, wanted: str, where: str) -> None:
    if connection.dialect.name != wanted:
        raise _elsewhere(connection.dialect.name, where)


def _elsewhere(connection: str, where: str) -> DriverError:
    return DriverError(
        f"queue.within() got a connection to {connection}, and the queue is in {where}: to commit"
        " together, they have to be in one database"
    )


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
