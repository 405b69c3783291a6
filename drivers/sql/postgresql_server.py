"""One connection to a PostgreSQL server: one transaction a verb, bounded waits, clear errors.

A transaction that writes begins by taking its queue's lock, an advisory one that PostgreSQL gives
up with the transaction, in the order asked. So a queue's transactions come one after another, as
the counts in its row need, and never wait for each other crosswise; those of other queues run
beside them. ``now`` is the server's clock, read once the lock is held.

Nothing is repeated here. A connection that is lost while it commits leaves open whether it did: to
enqueue the same ids, or to exchange under the same nonce once more, finds out.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from typing import Any, TypeVar, cast
from weakref import WeakSet

import psycopg
from psycopg import conninfo
from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper

from queued.drivers.sql.postgresql_dialect import DIALECT
from queued.drivers.sql.postgresql_transaction import (
    CHANNEL,
    PostgresqlSession,
    last_value,
    within,
)
from queued.drivers.sql.schema import SCHEMA_VERSION, creation, upgrade
from queued.drivers.sql.session import Session
from queued.errors import ConfigError, DriverUnavailable, QueueUnavailable

T = TypeVar("T")

OLDEST = 13
CONNECT_WITHIN, LOCK_WITHIN, STATEMENT_WITHIN = 5, 5, 10  # seconds

_DEFAULTS: dict[str, Any] = {
    "application_name": "queued",
    "connect_timeout": CONNECT_WITHIN,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
_FIXED = {"client_encoding": "UTF8"}  # else a database without an encoding gives bytes for texts
_SETTINGS = "; ".join(
    f"SET {setting}"
    for setting in (
        f"lock_timeout = '{LOCK_WITHIN}s'",
        f"statement_timeout = '{STATEMENT_WITHIN}s'",
        # a stopped process must not keep its queue's lock
        f"idle_in_transaction_session_timeout = '{STATEMENT_WITHIN}s'",
        # Each statement has its index, and is planned for the size that the tables have now: a
        # queue grows from nothing to a million before statistics tell, and a kept plan with it.
        "enable_seqscan = off",
        "enable_bitmapscan = off",
        "plan_cache_mode = force_custom_plan",
    )
)
_VACUUM_SOON = "autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000"
_STORAGE = f"""
ALTER TABLE queued_jobs SET ({_VACUUM_SOON});
ALTER TABLE queued_payloads SET ({_VACUUM_SOON});
ALTER TABLE queued_queues SET (fillfactor = 50);
ALTER TABLE queued_owners SET (fillfactor = 50);
"""
_MARKS = {f"queued schema {version}": version for version in range(1, SCHEMA_VERSION + 1)}
_SCHEMA = f"queued schema {SCHEMA_VERSION}"
_FOUND = (
    "SELECT coalesce(obj_description(found), ''), found IS NULL "
    "FROM to_regclass('queued_queues') AS found"
)
_VERSION = "SELECT xmin::text FROM queued_queues WHERE queue = %s"
_NOW = "SELECT extract(epoch FROM clock_timestamp())::float8"

LOCKED = "55P03"
_REASONS = {
    "25006": "it takes no writes: a standby, or set read-only",
    "42501": "this user may not do that",
    "42P01": "queued's tables are missing",
    "53100": "its disk is full",
    "53200": "it is out of memory",
    "53300": "it takes no more connections",
    LOCKED: f"another transaction kept the lock for {LOCK_WITHIN} s",
    "57014": f"a statement took longer than {STATEMENT_WITHIN} s",
    "57P01": "it ended the connection",
    "57P02": "it crashed",
    "57P03": "it is starting up or shutting down",
}
_HARMLESS = {"53100", "53200", LOCKED, "57014"}  # the connection is as good as before
_OUR_FAULTS = (psycopg.IntegrityError, psycopg.ProgrammingError, psycopg.DataError)


class PostgresqlServer:
    """A server's database, connected when first needed, and used by one thread at a time.

    :raises ConfigError: the URL cannot be read.
    """

    def __init__(self, url: str) -> None:
        try:
            given = conninfo.conninfo_to_dict(url)
        except psycopg.Error:  # its text may show a part of the password
            hint = "special characters in a password are written as %XX"
            raise ConfigError([f"connection: this PostgreSQL URL cannot be read; {hint}"]) from None
        self._parameters = {**_DEFAULTS, **given, **_FIXED}
        where = given.get("host") or "localhost"
        port = f":{given['port']}" if given.get("port") else ""
        self.name = f"PostgreSQL database {given.get('dbname', '')} at {where}{port}"
        self._connection: psycopg.Connection[Any] | None = None
        self._opening: psycopg.Connection[Any] | None = None
        self._closing = threading.Lock()

    def write(self, queue: str, verb: Callable[[Session], T]) -> T:
        """Run a verb under its queue's lock. It may commit early, and then only read."""
        begin = (
            "BEGIN ISOLATION LEVEL READ COMMITTED; "
            f"{_NOW} FROM pg_advisory_xact_lock({lock_of(queue)})"
        )
        with self._connected() as connection:
            return within(connection, begin, verb, queue)

    def read(self, verb: Callable[[Session], T]) -> T:
        """Run a verb over one snapshot."""
        begin = f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {_NOW}"
        with self._connected() as connection:
            return within(connection, begin, verb)

    def glance(self, queue: str, verb: Callable[[Session], T]) -> tuple[object, T]:
        """Run a verb of one statement; return with it what differs once the queue has changed.

        That is asked first, so that what is committed meanwhile shows up at the next glance.
        """
        with self._connected() as connection:
            version = connection.execute(_VERSION, (queue,)).fetchone()
            now = last_value(connection.execute(_NOW))
            return version, verb(PostgresqlSession(connection, now))

    def listen(self) -> psycopg.Connection[Any]:
        """Return a connection of its own that is told of news."""
        with self._reporting():
            return self._connect(_listen)

    def connect(self) -> None:
        """Connect, and create the tables where they are missing."""
        with self._connected():
            pass

    def close(self) -> None:
        with self._closing:
            connection, self._connection = self._connection, None
            if connection is not None:
                with suppress(psycopg.Error):
                    connection.close()

    def abort(self) -> None:
        """From another thread: let the call that waits for the server fail now."""
        with self._closing:
            connection = self._opening or self._connection
            if connection is not None and not connection.closed:
                with suppress(OSError, psycopg.Error), _socket(connection.fileno()) as connected:
                    connected.shutdown(socket.SHUT_RDWR)

    def unavailable(self, reason: str, detail: object = None) -> DriverUnavailable:
        return DriverUnavailable(f"{self.name}: {reason}" + (f" ({detail})" if detail else ""))

    @contextmanager
    def _connected(self) -> Iterator[psycopg.Connection[Any]]:
        with self._reporting():
            try:
                if self._connection is None or self._connection.closed:
                    self._connection = self._connect(self._prepare)
                yield self._connection
            except (psycopg.Error, OSError) as error:
                if getattr(error, "sqlstate", None) not in _HARMLESS:
                    self.close()
                raise

    def _connect(
        self, prepare: Callable[[psycopg.Connection[Any]], None]
    ) -> psycopg.Connection[Any]:
        """Return a new connection once ``prepare`` is through with it; ``abort`` reaches it too."""
        connection = psycopg.Connection.connect(**self._parameters, autocommit=True)
        _connections.add(connection)
        with self._closing:
            self._opening = connection
        try:
            self._configure(connection)
            prepare(connection)
        except BaseException:
            with self._closing:
                connection.close()
            raise
        finally:
            self._opening = None
        return connection

    def _configure(self, connection: psycopg.Connection[Any]) -> None:
        if connection.info.server_version < OLDEST * 10_000:
            raise self.unavailable(f"queued needs PostgreSQL {OLDEST} at least")
        connection.prepare_threshold = 2
        connection.prepared_max = 300
        # one type for all integers, so that a statement is prepared once
        connection.adapters.register_dumper(int, Int8Dumper)
        connection.adapters.register_dumper(int, Int8BinaryDumper)

    def _prepare(self, connection: psycopg.Connection[Any]) -> None:
        connection.execute(_SETTINGS, prepare=False)
        if self._schema_version(connection) != SCHEMA_VERSION:
            with connection.transaction():  # guarded: several hosts may start at once
                connection.execute(f"SELECT pg_advisory_xact_lock({lock_of('queued schema')})")
                self._create(connection)

    def _create(self, connection: psycopg.Connection[Any]) -> None:
        """Create the tables, or bring them up to date, unless another process was faster."""
        version = self._schema_version(connection)
        if version == SCHEMA_VERSION:
            return
        for statement in upgrade(DIALECT, version) if version else creation(DIALECT):
            connection.execute(cast("Any", statement))
        if not version:
            connection.execute(cast("Any", _STORAGE), prepare=False)
        connection.execute(f"COMMENT ON TABLE queued_queues IS '{_SCHEMA}'")

    def _schema_version(self, connection: psycopg.Connection[Any]) -> int:
        """Return 0 when the tables are missing."""
        row = connection.execute(_FOUND).fetchone()
        assert row is not None
        schema, missing = row
        if not missing and schema not in _MARKS:
            raise self.unavailable(
                f'its table queued_queues is marked "{schema}", and this queued knows only '
                f'"{_SCHEMA}"; it belongs to a newer queued or to another program'
            )
        return 0 if missing else _MARKS[schema]

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """Raise ``DriverUnavailable`` for what the server or the way to it reports."""
        try:
            yield
        except psycopg.Error as error:
            if isinstance(error, _OUR_FAULTS) and error.sqlstate not in _REASONS:
                raise
            reason = _REASONS.get(error.sqlstate or "", "it cannot be reached or used")
            text = next(iter(str(error).splitlines()), type(error).__name__)
            if error.sqlstate == LOCKED:
                raise QueueUnavailable(f"{self.name}: {reason} ({text})") from error
            raise self.unavailable(reason, text) from error
        except OSError as error:
            raise self.unavailable(error.strerror or str(error)) from error


_connections: WeakSet[psycopg.Connection[Any]] = WeakSet()


def _after_fork() -> None:
    """Let go of the parent's connections: a child would hold them open after the parent's death.

    A descriptor leads nowhere then, rather than be closed, and its number given to another file.
    """
    for connection in list(_connections):
        with suppress(OSError, psycopg.Error), open(os.devnull, "rb") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), connection.fileno(), False)


os.register_at_fork(after_in_child=_after_fork)


def _listen(connection: psycopg.Connection[Any]) -> None:
    connection.execute(f"LISTEN {CHANNEL}", prepare=False)


def lock_of(name: str) -> int:
    """Return the number of an advisory lock: a queue's, or the schema's."""
    digest = blake2b(b"queued:" + name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


@contextmanager
def _socket(descriptor: int) -> Iterator[socket.socket]:
    """Lend a socket that belongs to somebody else."""
    borrowed = socket.socket(fileno=descriptor)
    try:
        yield borrowed
    finally:
        borrowed.detach()
