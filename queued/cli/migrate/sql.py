"""RouteMQ's database queue: the tables ``queue_jobs`` and ``queue_failed_jobs`` of its models.

Failed jobs are in the latter for its Redis queue too, where RouteMQ has a database. Its times have
no zone and are UTC.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from sqlalchemy import (
    Column,
    DateTime,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    delete,
    inspect,
    select,
)
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from queued.cli.migrate.entry import Entry, Where, seconds_of
from queued.environment import redact
from queued.errors import ConfigError, DriverUnavailable

_SYNCHRONOUS = {
    "mysql+aiomysql": "mysql+pymysql",
    "mysql+asyncmy": "mysql+pymysql",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
    "sqlite+aiosqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgresql+asyncpg": "postgresql+psycopg",
}
"""What RouteMQ calls them, and drivers that wait."""

_metadata = MetaData()
JOBS = Table(
    "queue_jobs",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("queue", String(255)),
    Column("payload", Text),
    Column("attempts", Integer),
    Column("reserved_at", DateTime),
    Column("available_at", DateTime),
    Column("created_at", DateTime),
)
FAILED = Table(
    "queue_failed_jobs",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("connection", String(255)),
    Column("queue", String(255)),
    Column("payload", Text),
    Column("exception", Text),
    Column("failed_at", DateTime),
)


class Place(NamedTuple):
    """A queue's rows in one table."""

    where: Where
    queue: str
    table: Table


class SqlSource:
    """The jobs in one database.

    :raises ConfigError: the URL is none of SQLAlchemy's, or its driver is not installed.
    """

    def __init__(self, url: str) -> None:
        self._url = redact(url)
        scheme, _, rest = url.partition("://")
        try:
            self._engine = create_engine(f"{_SYNCHRONOUS.get(scheme, scheme)}://{rest}")
        except (ArgumentError, NoSuchModuleError, ValueError) as error:
            raise ConfigError([f"--from: {error}"]) from None
        except ImportError as error:
            raise ConfigError([f"--from: {error}; pip install {error.name}"]) from None

    def close(self) -> None:
        self._engine.dispose()

    def workers(self) -> list[str]:
        """Return nothing: RouteMQ's workers leave no heartbeat in a database."""
        return []

    def places(self) -> list[Place]:
        """Return where jobs are, in the order in which they are moved."""
        found: list[Place] = []
        with self._connected() as connection:
            there = inspect(connection)
            for where, table in ((Where.WAITING, JOBS), (Where.FAILED, FAILED)):
                if there.has_table(table.name):
                    queues = select(table.c.queue).distinct().order_by(table.c.queue)
                    names = connection.execute(queues).scalars().all()
                    found += [Place(where, name, table) for name in names]
        return found

    def entries(self, place: Place, skip: int, count: int) -> list[Entry]:
        """Return up to ``count`` jobs of a place, behind the first ``skip``."""
        table = place.table
        rows = select(table).where(table.c.queue == place.queue).order_by(table.c.id)
        with self._connected() as connection:
            found = connection.execute(rows.offset(skip).limit(count)).mappings().all()
        return [_entry(place, row) for row in found]

    def remove(self, place: Place, entries: Sequence[Entry]) -> None:
        """Remove jobs in one transaction. What is not there any more is no error."""
        ids = [entry.source for entry in entries]
        with self._connected() as connection:
            connection.execute(delete(place.table).where(place.table.c.id.in_(ids)))
            connection.commit()

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            said = str(getattr(error, "orig", None) or error).partition("\n")[0]
            raise DriverUnavailable(f"--from {self._url}: {said}") from error


def _entry(place: Place, row: Any) -> Entry:
    created = row.get("created_at") or row.get("failed_at")
    identity = f"{place.table.name}\n{row['id']}\n{created}\n{row['payload']}"
    if place.table is FAILED:
        return Entry(
            Where.FAILED,
            place.queue,
            row["id"],
            identity,
            row["payload"] or "",
            exception=row["exception"] or "",
            failed_at=seconds_of(row["failed_at"]) or time.time(),
        )
    due = seconds_of(row["available_at"])
    where = Where.WAITING if due is None or due <= time.time() else Where.DELAYED
    if row["reserved_at"] is not None:
        where, due = Where.RESERVED, None
    return Entry(where, place.queue, row["id"], identity, row["payload"] or "", due)
