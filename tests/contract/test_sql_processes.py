"""One SQLite file, many processes: real ones, real kills."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from queued.drivers import driver_for
from queued.drivers.base import Charge, Driver
from tests.contract.sql_process import QUEUE, Process
from tests.contract.steps import drain, names, push, release, settle, until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queued.db"


@pytest.fixture
def url(path: Path) -> str:
    return f"sqlite:///{path}"


@pytest.fixture
async def driver(url: str) -> AsyncIterator[Driver]:
    driver = driver_for(url)
    await driver.open()
    yield driver
    await driver.close()


@pytest.fixture
def start(tmp_path: Path, url: str) -> Iterator[Callable[[str, str], Process]]:
    """Starts processes that do not outlive the test."""
    started: list[Process] = []

    def start(role: str, name: str) -> Process:
        started.append(Process(tmp_path, role, url, name))
        return started[-1]

    yield start
    for process in started:
        process.kill()


Start = Callable[[str, str], Process]


def counted(path: Path) -> dict[str, tuple[int, ...]]:
    """What the queues' rows say, after comparing it with the jobs that are there."""
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.execute("BEGIN")  # so that all is read of one moment
        said = {
            queue: tuple(counts)
            for queue, *counts in connection.execute(
                "SELECT queue, ready, scheduled, reserved, failed FROM queued_queues"
            )
        }
        here: Counter[tuple[str, int]] = Counter(
            connection.execute("SELECT queue, state FROM queued_jobs").fetchall()
        )
        for table in ("queued_payloads", "queued_jobs"):
            [(rows,)] = connection.execute(f"SELECT count(*) FROM {table}")
            assert rows == here.total()
    connection.close()
    assert said == {queue: tuple(here[queue, state] for state in range(4)) for queue in said}
    return said


async def test_eight_processes_create_the_database_at_once(path: Path, start: Start) -> None:
    processes = [start("open", str(number)) for number in range(8)]
    assert [await process.finish() for process in processes] == [0] * 8
    assert [process.lines() for process in processes] == [[["open"]]] * 8
    assert counted(path) == {}


async def test_producers_and_workers_in_processes_of_their_own(
    path: Path, driver: Driver, start: Start
) -> None:
    """Every job that a producer was told of is acknowledged by one worker, once."""
    producers = [start("push", f"producer-{n}") for n in range(3)]
    workers = [start("work", f"worker-{n}") for n in range(3)]
    for process in producers + workers:
        await process.printed(2)
    assert [await producer.finish() for producer in producers] == [0] * 3

    async def drained() -> bool:
        sample = (await driver.stats([QUEUE]))[QUEUE]
        return not sample.size + sample.reserved

    await until(drained)
    for worker in workers:
        worker.kill()
    pushed = [job_id for producer in producers for line in producer.lines() for job_id in line]
    done = [job_id for worker in workers for line in worker.lines()[1:] for job_id in line]
    assert len(done) == len(set(done))
    assert set(done) <= set(pushed)
    assert len(pushed) - len(done) <= 3 * 10  # what a killed worker had no time to tell
    assert (await driver.stats([QUEUE]))[QUEUE].enqueued_total == len(pushed)
    assert counted(path) == {QUEUE: (0, 0, 0, 0)}


async def test_workers_killed_at_random_lose_and_repeat_nothing(
    path: Path, driver: Driver, start: Start
) -> None:
    await push(driver, *names(1000), queue=QUEUE)
    rng = random.Random(7)
    done: list[str] = []
    for generation in range(6):
        worker = start("work", f"worker-{generation}")
        await worker.printed(rng.randint(1, 12))  # then at once, whatever it does just now
        worker.kill()
        done += [job_id for line in worker.lines()[1:] for job_id in line]
        held = await driver.retire(QUEUE, worker.name)
        assert len(held) <= 10
        back = [release(job, Charge.NONE) for job in held]
        assert await settle(driver, *back, owner=worker.name, queue=QUEUE) == []
        counted(path)
    assert len(done) == len(set(done))
    left = await drain(driver, owner="drain", queue=QUEUE)
    assert not set(left) & set(done)
    assert 1000 - len(left) - len(done) <= 6 * 10  # acknowledged, and killed before it was told
    assert counted(path) == {QUEUE: (0, 0, 0, 0)}


async def test_idle_workers_of_other_processes_wake_for_a_push(
    driver: Driver, start: Start
) -> None:
    workers = [start("idle", f"idle-{n}") for n in range(2)]
    for worker in workers:
        assert await worker.printed(1) == [["waiting"]]
    await push(driver, "a", "b", queue=QUEUE)
    got = sorted([(await worker.printed(2))[1] for worker in workers])
    assert got == [["a", "True"], ["b", "True"]]


async def test_a_job_falls_due_under_a_waiting_worker(driver: Driver, start: Start) -> None:
    """Nobody promotes and nobody pushes: the waiter knows by itself when to look."""
    worker = start("idle", "idle")
    assert await worker.printed(1) == [["waiting"]]
    await push(driver, "later", delay=0.3, queue=QUEUE)
    assert await worker.printed(2) == [["waiting"], ["later", "True"]]
