"""Runs that take longer than ``slow_after``: told of once, while they run, with where they are."""

from __future__ import annotations

import asyncio
import threading
import time
from types import SimpleNamespace

import pytest

from queued.daemon import logs
from queued.daemon.spec import LogSpec
from queued.jobs.job import Job
from tests.unit.test_logs import as_json, output  # noqa: F401 - fixtures
from tests.unit.working import until

state = SimpleNamespace()


@pytest.fixture(autouse=True)
async def fresh():
    state.go = asyncio.Event()
    state.thread_go = threading.Event()
    yield
    state.go.set()
    state.thread_go.set()
    await asyncio.sleep(0)


async def ask_the_shop() -> None:
    await state.go.wait()


class Waits(Job):
    name = "test.slow_waits"

    async def handle(self) -> None:
        await ask_the_shop()


class Plain(Job):
    name = "test.slow_plain"

    def handle(self) -> None:
        state.thread_go.wait()


class Again(Job):
    name = "test.slow_again"
    retry_after = 0

    async def handle(self) -> None:
        await state.go.wait()
        if self.attempts == 1:
            state.go.clear()
            raise ValueError("once more")


class Blocks(Job):
    name = "test.slow_blocks"

    async def handle(self) -> None:
        time.sleep(0.2)  # noqa: ASYNC251 - what a bad job does


class Lines:
    """The lines of ``job.slow`` so far."""

    def __init__(self, output) -> None:  # noqa: F811
        self._output = output
        self._all: list[dict] = []

    def __call__(self) -> list[dict]:
        self._all += self._output.lines()
        return [line for line in self._all if line["event"] == "job.slow"]


@pytest.fixture
def slow(as_json) -> Lines:  # noqa: F811
    return Lines(as_json)


async def test_a_slow_run_is_told_of_with_where_its_code_stands(shop, slow):
    (job_id,) = await shop.push(Waits())
    async with shop.open(slow_after=0.1) as worker:
        await until(slow, "the line")
        assert len(worker._executor.running) == 1
    (line,) = slow()
    assert line["level"] == "warning"
    assert (line["job_id"], line["job"], line["attempt"]) == (job_id, "test.slow_waits", 1)
    assert line["seconds"] >= 0.1
    assert line["message"].startswith("slow_waits has been running for ")
    assert line["message"].endswith("(slow_after is 100ms)")
    head, *frames = line["stack"].splitlines()
    assert job_id in head
    names = [frame.rpartition(" in ")[2] for frame in frames]
    assert names[-2:] == ["ask_the_shop", "handle"]
    assert "test_slow.py" in frames[-1]


async def test_a_thread_is_told_of_too(shop, slow):
    await shop.push(Plain())
    async with shop.open(slow_after=0.1):
        await until(slow, "the line")
        state.thread_go.set()
    (line,) = slow()
    assert "test_slow.py" in line["stack"]
    assert " in handle" in line["stack"]


async def test_each_run_is_told_of_once(shop, slow):
    await shop.push(Again(), Waits())
    async with shop.open(slow_after=0.05):
        await until(lambda: len(slow()) == 2, "both lines")
        sweeps = shop.board.heartbeat
        await until(lambda: shop.board.heartbeat > sweeps + 0.2, "some more sweeps")
        assert len(slow()) == 2
        state.go.set()
        await until(lambda: len(slow()) == 3, "the second run")
    told = sorted((line["job"], line["attempt"]) for line in slow())
    assert told == [("test.slow_again", 1), ("test.slow_again", 2), ("test.slow_waits", 1)]


async def test_nothing_is_told_of_what_is_fast_enough_or_nobody_asks_about(shop, slow):
    await shop.push(Waits())
    for after in (3600.0, None):
        async with shop.open(slow_after=after):
            later = time.monotonic() + 0.2
            await until(lambda at=later: shop.board.heartbeat > at, "some sweeps")
    assert slow() == []


async def test_a_run_that_blocked_the_loop_has_ended_before_anyone_could_look(shop, slow):
    await shop.push(Blocks())
    await shop.clear(slow_after=0.05)
    assert slow() == []


async def test_a_terminal_shows_the_sentence_and_the_stack(shop, output):  # noqa: F811
    logs.configure(LogSpec(format="console"), {"worker": "emails/1"}, fd=output.writer)
    text = ""

    def said() -> bool:
        nonlocal text
        text += output.text()
        return "job.slow" in text and "in handle" in text

    await shop.push(Waits())
    async with shop.open(slow_after=0.1):
        await until(said, "the line")
    line = next(line for line in text.splitlines() if "job.slow" in line)
    assert "slow_waits has been running for" in line
    assert "seconds=" not in line
