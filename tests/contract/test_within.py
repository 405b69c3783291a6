"""``queue.within``: jobs come and go with a transaction of the caller's own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from queued.drivers.base import Driver
from queued.errors import DriverError, InvalidJob
from queued.jobs.job import Job
from queued.jobs.queue import Queue
from queued.jobs.receipt import Receipt
from tests.contract.conftest import MakeDriver
from tests.contract.steps import drain, info, listen, reserve, size, until

pytestmark = pytest.mark.parametrize(
    "clean_url", ["sqlite", "postgresql"], indirect=True, scope="session"
)
TABLE = "CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, queued_test INTEGER)"


class Receive(Job):
    name = "within.receive"
    queue = "emails"
    order: int

    def handle(self) -> None: ...


class Sync(Job):
    name = "within.sync"
    queue = "emails"
    unique_key = "{user}"
    user: int

    def handle(self) -> None: ...


def engine_of(url: str) -> Engine:
    return create_engine(url.replace("postgresql://", "postgresql+psycopg://"))


@pytest.fixture(name="engine")
def engine_at_the_url(url: str) -> Iterator[Engine]:
    made = engine_of(url)
    with made.begin() as connection:
        connection.execute(text(TABLE))
        connection.execute(text("DELETE FROM orders"))
    yield made
    made.dispose()


@pytest.fixture(name="queue")
def queue_at_the_url(url: str) -> Queue:
    return Queue(url)


def order(connection: Any, number: int) -> None:
    connection.execute(text("INSERT INTO orders (id) VALUES (:id)"), {"id": number})


def orders(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        return [id_ for (id_,) in connection.execute(text("SELECT id FROM orders ORDER BY id"))]


async def test_a_commit_brings_the_order_and_the_job(
    queue: Queue, engine: Engine, driver: Driver
) -> None:
    with engine.begin() as connection:
        order(connection, 1)
        receipt = queue.within(connection).push(Receive(order=1))
    assert receipt.enqueued
    assert orders(engine) == [1]
    found = await info(driver, receipt.id)
    assert found.payload == b'{"v":1,"job":"within.receive"}\n{"order":1}'
    assert await drain(driver) == [receipt.id]
    assert (await driver.stats(["emails"]))["emails"].enqueued_total == 1


async def test_a_rollback_brings_neither(queue: Queue, engine: Engine, driver: Driver) -> None:
    with engine.connect() as connection:
        order(connection, 1)
        receipt = queue.within(connection).push(Sync(user=1))
        connection.rollback()
    assert orders(engine) == []
    assert await driver.find(receipt.id) is None
    assert await size(driver) == 0
    assert (await queue.push(Sync(user=1))).enqueued  # nobody holds its key
    await queue.close()


async def test_nobody_sees_the_job_before_the_commit(
    queue: Queue, engine: Engine, make_driver: MakeDriver
) -> None:
    reader = await make_driver()
    with engine.begin() as connection:
        queue.within(connection).bulk([Receive(order=n) for n in range(3)])
        assert await size(reader) == 0
    assert await size(reader) == 3


async def test_a_savepoint_that_is_undone_takes_its_job_along(
    queue: Queue, engine: Engine, driver: Driver
) -> None:
    with engine.begin() as connection:
        order(connection, 1)
        kept = queue.within(connection).push(Receive(order=1))
        savepoint = connection.begin_nested()
        queue.within(connection).push(Receive(order=2))
        savepoint.rollback()
        also = queue.within(connection).push(Receive(order=3))
    assert await drain(driver) == [kept.id, also.id]


async def test_a_session(queue: Queue, engine: Engine, driver: Driver) -> None:
    with Session(engine) as session, session.begin():
        order(session, 1)
        within = queue.within(session)
        first = within.push(Receive(order=1), id="mine")
        later = within.later("5m", Receive(order=2))
    assert first == Receipt("mine", enqueued=True)
    assert (await info(driver, later.id)).due_at is not None
    assert orders(engine) == [1]
    with Session(engine) as session:
        queue.within(session).push(Receive(order=3))
        session.rollback()
    assert await size(driver) == 2


@pytest.fixture
def async_url(url: str) -> str:
    pytest.importorskip("greenlet")
    if url.startswith("sqlite"):
        pytest.importorskip("aiosqlite")
        return url.replace("sqlite://", "sqlite+aiosqlite://")
    return url.replace("postgresql://", "postgresql+psycopg://")


async def test_asynchronous_connections_and_sessions(
    queue: Queue, engine: Engine, async_url: str, driver: Driver
) -> None:
    made: AsyncEngine = create_async_engine(async_url)
    async with made.begin() as connection:
        await connection.execute(text("INSERT INTO orders (id) VALUES (1)"))
        first = await queue.within(connection).push(Receive(order=1))
    async with AsyncSession(made) as session, session.begin():
        within = queue.within(session)
        second = await within.later(0, Receive(order=2))
        third, fourth = await within.bulk([Receive(order=3), Receive(order=4)])
    async with AsyncSession(made) as session:
        await queue.within(session).push(Receive(order=5))
        await session.rollback()
    await made.dispose()
    assert await drain(driver) == [first.id, second.id, third.id, fourth.id]
    assert orders(engine) == [1]


async def test_duplicates_are_refused_as_ever(queue: Queue, engine: Engine, driver: Driver) -> None:
    with engine.begin() as connection:
        within = queue.within(connection)
        first = within.push(Sync(user=1))
        assert within.push(Sync(user=1)) == Receipt(first.id, enqueued=False)
        assert [one.enqueued for one in within.bulk([Sync(user=1), Sync(user=2)])] == [False, True]
    assert await queue.push(Sync(user=1)) == Receipt(first.id, enqueued=False)
    await queue.close()


async def test_a_bulk_over_queues_and_batches(queue: Queue, engine: Engine, driver: Driver) -> None:
    jobs = [Receive(order=n) for n in range(1_500)]
    with engine.begin() as connection:
        receipts = queue.within(connection).bulk([*jobs, Sync(user=7)])
        queue.within(connection).bulk([Receive(order=1)], queue="other")
    assert len({one.id for one in receipts}) == 1_501
    assert await size(driver) == 1_501
    assert await size(driver, "other") == 1


async def test_an_idle_worker_is_woken_by_the_commit(
    queue: Queue, engine: Engine, driver: Driver
) -> None:
    await reserve(driver)
    waiting = asyncio.ensure_future(listen(driver, 60))
    await asyncio.sleep(0)

    def place() -> str:
        with engine.begin() as connection:
            return queue.within(connection).push(Receive(order=1)).id

    job_id = await asyncio.to_thread(place)

    async def taken() -> list[str]:
        if waiting.done():
            return [job.id for job in waiting.result()] or await drain(driver)
        return []

    assert await until(taken) == [job_id]


async def test_a_connection_to_another_database_is_refused(
    queue: Queue, engine: Engine, driver: Driver, tmp_path: Path
) -> None:
    elsewhere = create_engine(f"sqlite:///{tmp_path}/other.db")
    memory = create_engine("sqlite://")
    for other in (elsewhere, memory):
        with other.connect() as connection, pytest.raises(DriverError, match="in one database"):
            queue.within(connection).push(Receive(order=1))
        other.dispose()
    assert await size(driver) == 0


async def test_a_connection_without_transactions_is_refused(
    queue: Queue, engine: Engine, driver: Driver
) -> None:
    alone = engine.execution_options(isolation_level="AUTOCOMMIT")
    with alone.connect() as connection, pytest.raises(DriverError, match="AUTOCOMMIT"):
        queue.within(connection).push(Receive(order=1))
    assert await size(driver) == 0


async def test_an_invalid_job_leaves_the_transaction_usable(
    queue: Queue, engine: Engine, driver: Driver
) -> None:
    with engine.begin() as connection:
        order(connection, 1)
        with pytest.raises(InvalidJob, match=r"Receive\.order"):
            queue.within(connection).push(Receive(order="x"))  # type: ignore[arg-type]
    assert orders(engine) == [1]
    assert await size(driver) == 0


async def test_tables_are_made_when_the_first_job_is_joined(
    url: str, engine: Engine, make_driver: MakeDriver
) -> None:
    """The producer may well come before the first worker, and write something of its own first."""
    with engine.begin() as connection:
        for table in inspect(connection).get_table_names():
            if table.startswith("queued_"):
                connection.execute(text(f"DROP TABLE {table} CASCADE"))
    with engine.begin() as connection:
        order(connection, 1)
        receipt = Queue(url).within(connection).push(Receive(order=1))
    assert await drain(await make_driver()) == [receipt.id]


async def test_transactions_side_by_side(queue: Queue, engine: Engine, driver: Driver) -> None:
    """Each waits for its turn; what a lock cannot give is an error, and brings nothing."""

    def place(number: int) -> bool:
        try:
            with engine.begin() as connection:
                queue.within(connection).push(Receive(order=number))
                order(connection, number)
        except DBAPIError:  # SQLite: another one wrote meanwhile
            return False
        return True

    done = await asyncio.gather(*(asyncio.to_thread(place, n) for n in range(24)))
    assert len(orders(engine)) == await size(driver) == sum(done) > 0
    stats = (await driver.stats(["emails"]))["emails"]
    assert stats.enqueued_total == sum(done)
    assert len(await drain(driver)) == sum(done)
