"""A settlement is one step: whoever watches finds a job before it or after it, never in between.

So a process that is killed, or a connection that is cut, at whatever moment, leaves no job that has
been dropped and not yet put back, and none that is there twice. The steps are counted from outside,
by what the back-end itself writes down of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import redis
from psycopg.sql import SQL, Identifier

from queued.drivers.base import Driver, Reservation, Settlement
from queued.drivers.sql.postgresql_server import CHANNEL
from tests.contract.steps import names, push, reserve, retry, settle
from tests.contract.test_settle import each_kind

Steps = Callable[[], int]
"""How many steps have changed anything since the last time that it was called."""

pytestmark = pytest.mark.parametrize(
    "clean_url", ["valkey", "redis7", "sqlite", "postgresql"], indirect=True, scope="session"
)


@contextmanager
def scripts_that_wrote(url: str) -> Iterator[Steps]:
    """Count commands by MONITOR; what a script calls is a part of it, and wake-ups are no state."""
    with redis.Redis.from_url(url) as admin, admin.monitor() as monitor:
        writing = {name for name, about in admin.command().items() if "write" in about["flags"]}

        def steps() -> int:
            admin.echo("now")
            wrote: list[bool] = []
            for line in monitor.listen():
                name, *arguments = line["command"].split()
                if name.lower() == "echo":
                    break
                if line["client_type"] != "lua":
                    wrote.append(False)
                if name.lower() in writing and not arguments[0].endswith(":wake"):
                    wrote[-1] = True
            return sum(wrote)

        yield steps


@contextmanager
def commits_in_the_log(url: str) -> Iterator[Steps]:
    """Count the frames of SQLite's write-ahead log that end a transaction.

    Their second word is not 0; see https://www.sqlite.org/fileformat2.html#the_write_ahead_log.
    """
    path = Path(f"{url.removeprefix('sqlite:///')}-wal")
    known = 0

    def steps() -> int:
        nonlocal known
        log, before = path.read_bytes(), known
        frame = 24 + int.from_bytes(log[8:12], "big")
        known = sum(any(log[at + 4 : at + 8]) for at in range(32, len(log), frame))
        return known - before

    yield steps


@contextmanager
def transactions_that_wrote(url: str) -> Iterator[Steps]:
    """Count PostgreSQL's transaction ids, which only who writes is given, or who notifies.

    News has a transaction of its own, after the one that it tells of; whoever listens hears of it
    with the answer to the next statement at the latest.
    """
    with psycopg.connect(url, autocommit=True) as operator:
        operator.execute(SQL("LISTEN {}").format(Identifier(CHANNEL)))
        news: list[psycopg.Notify] = []
        operator.add_notify_handler(news.append)
        known = 0

        def steps() -> int:
            nonlocal known
            before = known
            [(ids,)] = operator.execute("SELECT txid_snapshot_xmax(txid_current_snapshot())")
            known = ids - len(news)
            return known - before

        yield steps


WATCHED = {
    "redis": scripts_that_wrote,
    "sqlite": commits_in_the_log,
    "postgresql": transactions_that_wrote,
}


@pytest.fixture
def steps(url: str, driver: Driver) -> Iterator[Steps]:
    with WATCHED[url.partition(":")[0]](url) as steps:
        yield steps


@each_kind
async def test_a_settlement_is_one_step(
    driver: Driver, steps: Steps, kind: Callable[[Reservation], Settlement]
) -> None:
    taken = []
    for round_ in range(3):
        await push(driver, *names(2, f"round-{round_}"))
        held = await reserve(driver, 2)
        steps()
        assert await settle(driver, *map(kind, held)) == []
        taken.append(steps())
    assert min(taken) == 1, taken  # PostgreSQL's housekeeping may take one of its own meanwhile


async def test_two_steps_are_seen_as_two(driver: Driver, steps: Steps) -> None:
    """As the tests above would see them."""
    await push(driver, *names(2))
    held = await reserve(driver, 2)
    steps()
    for job in held:
        assert await settle(driver, retry(job)) == []
    assert steps() >= 2
