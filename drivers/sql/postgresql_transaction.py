"""A verb in a transaction of PostgreSQL: begun, committed with its news, or rolled back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar, cast

import psycopg
from psycopg.pq import TransactionStatus

from queued.drivers.sql.postgresql_dialect import DIALECT
from queued.drivers.sql.session import Session

T = TypeVar("T")

CHANNEL = "queued_news"


class PostgresqlSession(Session):
    """A transaction that tells of its news once it has committed."""

    def __init__(
        self, connection: psycopg.Connection[Any], now: float, queue: str | None = None
    ) -> None:
        super().__init__(_Binary(connection), DIALECT, now)
        self._connection = connection
        self._queue = queue

    def commit(self) -> None:
        """Tell of news in a transaction of its own: one that tells locks out all that do."""
        text = "COMMIT"
        if self.news and self._queue is not None:
            payload = self._queue.replace("'", "''")
            text += f"; NOTIFY {CHANNEL}, '{payload}'"
        self._connection.execute(cast("Any", text), prepare=False)


class _Binary:
    """A connection's one cursor, used again and again: bytes cross as they are."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._cursor = connection.cursor(binary=True)

    def execute(self, text: str, parameters: Mapping[str, Any], /) -> psycopg.Cursor[Any]:
        return self._cursor.execute(cast("Any", text), parameters)


def within(
    connection: psycopg.Connection[Any],
    begin: str,
    verb: Callable[[Session], T],
    queue: str | None = None,
) -> T:
    """Run a verb in a transaction. ``begin`` begins it, and returns the time."""
    try:
        now = last_value(connection.execute(cast("Any", begin), prepare=False))
        session = PostgresqlSession(connection, now, queue)
        result = verb(session)
        if connection.info.transaction_status == TransactionStatus.INTRANS:
            session.commit()
    except BaseException:
        if connection.info.transaction_status != TransactionStatus.IDLE:
            with suppress(psycopg.Error):
                connection.execute("ROLLBACK")
        raise
    return result


def last_value(cursor: psycopg.Cursor[Any]) -> float:
    """Return the one value of the last statement that was executed."""
    while cursor.nextset():
        pass
    row = cursor.fetchone()
    assert row is not None
    value: float = row[0]
    return value
