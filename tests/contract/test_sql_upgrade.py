"""Tables of every earlier version of the schema become today's, with all that is in them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, inspect, text

from queued.drivers.base import Driver, NewJob, Unique
from queued.drivers.sql.schema import SCHEMA_VERSION
from tests.contract.chains import OTHER_Q, batch_of, chained
from tests.contract.conftest import MakeDriver
from tests.contract.steps import ME, Q, drain, failed_job, hold, push

pytestmark = pytest.mark.parametrize(
    "clean_url", ["sqlite", "postgresql"], indirect=True, scope="session"
)

TABLES = {
    **dict.fromkeys(("queued_locks", "queued_keys"), 2),
    **dict.fromkeys(("queued_sequels", "queued_outbox", "queued_batches", "queued_members"), 3),
    "queued_ticks": 4,
}
"""The version that brought each table that the first one had not,"""
COLUMNS = {
    **dict.fromkeys(("keyed", "refused_total"), 2),
    **dict.fromkeys(("paused_at", "paused_by", "pause_reason", "opens_at", "token_seconds"), 5),
}
"""and each column of ``queued_queues``."""
FIRST = {
    "queued_jobs": 17,
    "queued_payloads": 3,
    "queued_failed": 6,
    "queued_owners": 6,
    "queued_queues": 8,
}
"""The tables of the first version, with how many columns each had."""


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    made = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    yield made
    made.dispose()


def mark(connection: Connection, version: int) -> None:
    if connection.dialect.name == "sqlite":
        connection.execute(text(f"PRAGMA user_version = {version}"))
    else:
        connection.execute(text(f"COMMENT ON TABLE queued_queues IS 'queued schema {version}'"))


def make_old(connection: Connection, version: int) -> None:
    """Take away what later versions brought."""
    for table, since in TABLES.items():
        if since > version:
            connection.execute(text(f"DROP TABLE {table}"))
    for column, since in COLUMNS.items():
        if since > version:
            connection.execute(text(f"ALTER TABLE queued_queues DROP COLUMN {column}"))
    mark(connection, version)


def described(engine: Engine) -> dict[str, Any]:
    """Return the columns and the indexes of every table of ours."""
    seen = inspect(engine)
    return {
        table: (
            {one["name"]: (str(one["type"]), one["nullable"]) for one in seen.get_columns(table)},
            sorted(str(one["name"]) for one in seen.get_indexes(table)),
        )
        for table in seen.get_table_names()
        if table.startswith("queued_")
    }


async def new(driver: Driver, *jobs: NewJob) -> None:
    assert await driver.enqueue(Q, jobs) == [True] * len(jobs)


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
async def test_an_earlier_version_becomes_todays(
    driver: Driver, engine: Engine, make_driver: MakeDriver, version: int
) -> None:
    held = await hold(driver, "held")
    await failed_job(driver, "failed")
    await push(driver, "ready")
    await push(driver, "later", delay=3600)
    today = described(engine)
    await driver.close()
    with engine.begin() as connection:
        make_old(connection, version)
    old = described(engine)
    assert old != today
    if version == 1:
        assert {table: len(columns) for table, (columns, _) in old.items()} == FIRST

    clients = await asyncio.gather(*(make_driver() for _ in range(4)))  # all start at once
    assert described(engine) == today
    first = clients[0]
    stats = (await first.stats([Q]))[Q]
    assert (stats.ready, stats.scheduled, stats.reserved, stats.failed) == (1, 1, 1, 1)
    assert await first.held(Q, ME) == {"held": held.fence}
    assert await first.requeue(Q, ["failed"]) == [True]
    assert await drain(first) == ["ready", "failed"]
    await all_features(first)


async def all_features(driver: Driver) -> None:
    await new(driver, NewJob("one", b"", 0, Unique("name")))
    assert await driver.enqueue(Q, [NewJob("two", b"", 0, Unique("name"))]) == ["one"]
    await new(driver, chained((Q, "link-1"), (OTHER_Q, "link-2")).job)
    assert await driver.enqueue_batch("billing", batch_of((Q, "member")))
    assert await driver.tick(Q, "nightly", None, 1, NewJob("tick", b""))
    assert await driver.pause(Q)
    assert await driver.resume(Q)
    assert await drain(driver) == ["one", "link-1", "member", "tick"]
    await driver.forward(Q)
    assert await drain(driver, queue=OTHER_Q) == ["link-2"]
    batch = await driver.batch("batch-1")
    assert batch
    assert batch.finished
