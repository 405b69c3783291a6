"""Dispatch within a transaction of the caller's: what only one of the databases has."""

from __future__ import annotations

import asyncio
from itertools import chain
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import create_async_engine

from queued.drivers.base import Driver
from queued.drivers.sql.schema import ADDED
from queued.errors import DriverError
from queued.jobs.queue import Queue
from tests.contract.steps import drain, size
from tests.contract.test_within import (
    Receive,
    Sync,
    engine_at_the_url,  # noqa: F401 - a fixture
    order,
    queue_at_the_url,  # noqa: F401 - a fixture
)


def only(backend: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("clean_url", [backend], indirect=True, scope="session")


@only("postgresql")
async def test_another_database_of_the_same_server_is_refused(url: str, engine: Engine) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as operator:
        operator.execute(text("DROP DATABASE IF EXISTS elsewhere"))
        operator.execute(text("CREATE DATABASE elsewhere"))
    other = create_engine(engine.url.set(database="elsewhere"))
    with other.connect() as connection, pytest.raises(DriverError, match="in one database"):
        Queue(url).within(connection).push(Receive(order=1))
    other.dispose()


@only("sqlite")
async def test_tables_of_an_earlier_version_are_brought_up_to_date(
    url: str, engine: Engine, tmp_path: Path
) -> None:
    with engine.begin() as connection:
        Queue(url).within(connection).push(Receive(order=1))
        for column in chain.from_iterable(ADDED.values()):
            table, name = column.table.name, column.name
            connection.execute(text(f"ALTER TABLE {table} DROP COLUMN {name}"))
        connection.execute(text("DROP TABLE queued_locks"))
        connection.execute(text("PRAGMA user_version = 1"))
    with engine.begin() as connection:
        order(connection, 1)
        assert Queue(url).within(connection).push(Sync(user=1)).enqueued


@only("postgresql")
@pytest.mark.parametrize("dialect", ["psycopg", "asyncpg"])
async def test_tasks_that_join_first_at_the_same_moment(
    url: str, engine: Engine, driver: Driver, dialect: str
) -> None:
    made = create_async_engine(engine.url.set(drivername=f"postgresql+{dialect}"))
    for _ in range(5):
        queue = Queue(url)

        async def push(number: int, queue: Queue = queue) -> None:
            async with made.begin() as connection:
                await queue.within(connection).push(Receive(order=number))

        await asyncio.gather(*map(push, range(4)))
    await made.dispose()
    assert await size(driver) == 20


@only("postgresql")
@pytest.mark.parametrize("dialect", ["psycopg", "asyncpg"])
async def test_autocommit_is_noticed_over_prepared_statements(
    queue: Queue, engine: Engine, driver: Driver, dialect: str
) -> None:
    made = create_async_engine(engine.url.set(drivername=f"postgresql+{dialect}"), pool_size=1)
    for number in range(10):  # by then psycopg has prepared them, too
        async with made.begin() as connection:
            await queue.within(connection).push(Receive(order=number))
    async with made.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        with pytest.raises(DriverError, match="AUTOCOMMIT"):
            await queue.within(connection).push(Receive(order=10))
    await made.dispose()
    assert await size(driver) == 10


@only("postgresql")
async def test_a_snapshot_from_before_a_job_was_done_refuses_no_id(
    queue: Queue, engine: Engine, driver: Driver
) -> None:
    await queue.push(Receive(order=1), id="sync-7")
    await queue.close()
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        connection.execute(text("SELECT count(*) FROM orders"))  # it reads as of now
        assert await drain(driver, queue="emails") == ["sync-7"]
        with pytest.raises(OperationalError, match="could not serialize"):
            queue.within(connection).push(Receive(order=2), id="sync-7")
    with engine.begin() as connection:
        assert queue.within(connection).push(Receive(order=2), id="sync-7").enqueued


@only("postgresql")
async def test_a_transaction_that_stands_idle_loses_the_lock(
    queue: Queue, engine: Engine, driver: Driver
) -> None:
    with engine.connect() as connection:
        queue.within(connection).push(Receive(order=1))
        shown = connection.execute(text("SHOW idle_in_transaction_session_timeout")).scalar()
        assert shown == "10s"
        connection.rollback()
        shown = connection.execute(text("SHOW idle_in_transaction_session_timeout")).scalar()
        assert shown == "0"
