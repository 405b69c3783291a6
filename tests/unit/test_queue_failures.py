"""The producer on a back-end that fails, in a driver that does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from queued.drivers import register_driver
from queued.drivers.memory import MemoryDriver
from queued.errors import DriverUnavailable
from queued.jobs.ids import new_ids
from queued.jobs.queue import Queue
from queued.jobs.receipt import Receipt
from tests.unit.producing import Note, numbers, until

# a back-end that fails


class Failing(MemoryDriver):
    """The memory driver behind a switch: real answers until it says otherwise."""

    refuse_after: int | None = None
    refused_opens = 0
    batches: list[int]
    gate: asyncio.Event | None = None
    error: Exception = DriverUnavailable("the server is down")
    closed = 0

    async def open(self) -> None:
        if type(self).refused_opens:
            type(self).refused_opens -= 1
            raise DriverUnavailable("cannot connect")

    async def close(self) -> None:
        type(self).closed += 1

    async def enqueue(self, queue: str, jobs: Any) -> list[bool]:
        kind = type(self)
        if kind.gate is not None:
            await kind.gate.wait()
        if kind.refuse_after is not None and len(kind.batches) >= kind.refuse_after:
            raise kind.error
        kind.batches.append(len(jobs))
        return await super().enqueue(queue, jobs)


@pytest.fixture
async def failing() -> AsyncIterator[tuple[Queue, type[Failing]]]:
    scheme = f"failing{next(numbers)}"
    kind = type("FailingHere", (Failing,), {"batches": []})
    register_driver(scheme, kind)
    queue = Queue(f"{scheme}://{scheme}")
    yield queue, kind
    await queue.close()


async def test_each_caller_is_told_of_its_own_job(failing: tuple[Queue, type[Failing]]) -> None:
    queue, kind = failing
    kind.refuse_after = 0
    ids = new_ids(5)
    errors = await asyncio.gather(
        *(queue.push(Note(), id=job_id) for job_id in ids), return_exceptions=True
    )

    assert [type(error) for error in errors] == [DriverUnavailable] * 5
    assert [error.ids for error in errors if isinstance(error, DriverUnavailable)] == [
        (job_id,) for job_id in ids
    ]
    assert "the server is down" in str(errors[0])
    assert ids[0] in str(errors[0])


async def test_one_failing_batch_does_not_touch_the_others(
    failing: tuple[Queue, type[Failing]],
) -> None:
    queue, kind = failing
    kind.refuse_after = 1
    results = await asyncio.gather(
        *(queue.push(Note(), queue=f"q{n % 2}") for n in range(10)), return_exceptions=True
    )

    assert [isinstance(result, Receipt) for result in results] == [True, False] * 5


async def test_any_error_reaches_each_caller(failing: tuple[Queue, type[Failing]]) -> None:
    queue, kind = failing
    kind.refuse_after, kind.error = 0, ValueError("a bug in a driver")
    errors = await asyncio.gather(*(queue.push(Note()) for _ in range(3)), return_exceptions=True)

    assert [str(error) for error in errors] == ["a bug in a driver"] * 3


async def test_a_driver_that_answers_too_little_leaves_nobody_waiting(
    failing: tuple[Queue, type[Failing]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def enqueue(self: Failing, queue: str, jobs: Any) -> list[bool]:
        return [True]

    queue, kind = failing
    monkeypatch.setattr(kind, "enqueue", enqueue)
    results = await asyncio.gather(*(queue.push(Note()) for _ in range(2)), return_exceptions=True)

    assert [str(error) for error in results] == ["memory gave 1 answers for 2 jobs"] * 2


async def test_closing_waits_for_a_bulk_too(failing: tuple[Queue, type[Failing]]) -> None:
    queue, kind = failing
    kind.gate = asyncio.Event()
    bulk = asyncio.create_task(queue.bulk([Note()]))
    await until(lambda: bool(queue._clients._by_loop))
    client = queue._client()
    await until(lambda: bool(client._sending))
    closing = asyncio.create_task(queue.close())
    await asyncio.sleep(0)
    kind.gate.set()

    assert (await bulk)[0].enqueued
    await closing
    assert kind.closed == 1


async def test_two_hundred_at_once_are_one_round_trip(failing: tuple[Queue, type[Failing]]) -> None:
    queue, kind = failing
    await asyncio.gather(*(queue.push(Note()) for _ in range(200)))

    assert kind.batches == [200]


async def test_more_than_a_batch_is_cut(failing: tuple[Queue, type[Failing]]) -> None:
    queue, kind = failing
    await asyncio.gather(*(queue.push(Note()) for _ in range(2_100)))

    assert sorted(kind.batches) == [100, 1_000, 1_000]


async def test_a_caller_that_is_cancelled_takes_nobody_with_it(
    failing: tuple[Queue, type[Failing]],
) -> None:
    queue, kind = failing
    kind.gate = asyncio.Event()
    pushes = [asyncio.create_task(queue.push(Note())) for _ in range(3)]
    before_the_turn_ends = asyncio.create_task(queue.push(Note(), id="never"))
    await until(lambda: bool(queue._clients._by_loop))
    before_the_turn_ends.cancel()
    await until(lambda: bool(next(iter(queue._clients._by_loop.values()))._sending))
    pushes[1].cancel()
    kind.gate.set()
    results = await asyncio.gather(*pushes, before_the_turn_ends, return_exceptions=True)

    assert isinstance(results[0], Receipt)
    assert isinstance(results[1], asyncio.CancelledError)
    assert isinstance(results[2], Receipt)
    assert isinstance(results[3], asyncio.CancelledError)


async def test_a_failed_open_is_tried_again_by_the_next_call(
    failing: tuple[Queue, type[Failing]],
) -> None:
    queue, kind = failing
    kind.refused_opens = 1
    errors = await asyncio.gather(
        *(queue.push(Note(), id=f"first-{n}") for n in range(2)), return_exceptions=True
    )

    assert [error.ids for error in errors if isinstance(error, DriverUnavailable)] == [
        ("first-0",),
        ("first-1",),
    ]
    assert kind.closed == 1  # what had been opened half
    assert (await queue.push(Note())).enqueued


async def test_size_says_unreachable_and_never_zero(failing: tuple[Queue, type[Failing]]) -> None:
    queue, kind = failing
    kind.refused_opens = 1

    with pytest.raises(DriverUnavailable, match="cannot connect"):
        await queue.size()
    assert await queue.size() == 0


async def test_bulk_names_what_was_not_acknowledged(failing: tuple[Queue, type[Failing]]) -> None:
    queue, kind = failing
    kind.refuse_after = 2
    ids = new_ids(2_500)
    jobs = [Note() for _ in ids]

    with pytest.raises(
        DriverUnavailable, match=r"down; 2000 of 2500 jobs were acknowledged; 500 jobs may have"
    ) as caught:
        await queue.bulk(jobs, ids=ids)
    assert caught.value.ids == tuple(ids[2_000:])

    kind.refuse_after = None
    again = await queue.bulk(jobs, ids=ids)
    assert [receipt.enqueued for receipt in again] == [False] * 2_000 + [True] * 500


async def test_a_driver_is_closed_with_its_queue(failing: tuple[Queue, type[Failing]]) -> None:
    queue, kind = failing
    await queue.push(Note())
    await queue.close()

    assert kind.closed == 1


async def test_the_driver_runs_in_a_context_of_its_own(
    failing: tuple[Queue, type[Failing]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import contextvars

    job_id = contextvars.ContextVar("job_id", default="none")
    seen: list[str] = []
    queue, kind = failing

    async def enqueue(self: Failing, queue: str, jobs: Any) -> list[bool]:
        seen.append(job_id.get())
        return [True for _ in jobs]

    monkeypatch.setattr(kind, "enqueue", enqueue)
    job_id.set("first")
    await queue.push(Note())

    assert seen == ["none"]
