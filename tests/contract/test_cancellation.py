"""A caller that gives up: whatever was on its way, the client stays right, and no job is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from queued.drivers.base import Driver, NewJob
from tests.contract.conftest import MakeDriver
from tests.contract.steps import ME, Q, ack, drain, ids, names, push, reserve, settle, size

STEPS = range(8)
"""How many turns of the loop a verb gets before it is cancelled: from none to most of it."""


async def give_up(verb: Coroutine[Any, Any, Any], turns: int) -> bool:
    """Cancel ``verb`` after some turns of the loop; whether it was still on its way."""
    task = asyncio.ensure_future(verb)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False


@pytest.mark.parametrize("turns", STEPS)
async def test_answers_never_go_to_the_next_question(driver: Driver, turns: int) -> None:
    """A client that reads a cancelled call's reply as the next one's would mix all of these up."""
    await push(driver, "a")
    for _ in range(5):
        await give_up(driver.stats([Q]), turns)
        found = await driver.find("a", Q)
        assert found is not None
        assert found.payload == b"a"
        await give_up(driver.find("a", Q), turns)
        assert await size(driver) == 1
        await give_up(driver.renew(Q, ["other"], 30), turns)
        assert await driver.queues() == [Q]
        await give_up(driver.failed(Q), turns)
        assert await driver.enqueue(Q, [NewJob("a", b"")]) == [False]


@pytest.mark.parametrize("turns", STEPS)
async def test_an_enqueue_that_was_given_up_is_whole_or_not_there(
    driver: Driver, turns: int
) -> None:
    await give_up(driver.enqueue(Q, [NewJob(name, b"") for name in names(50)]), turns)
    again = await driver.enqueue(Q, [NewJob(name, b"") for name in names(50)])
    assert len(set(again)) == 1
    assert await size(driver) == 50
    assert (await driver.stats([Q]))[Q].enqueued_total == 50
    assert await drain(driver) == names(50)


@pytest.mark.parametrize("turns", STEPS)
async def test_a_reserve_that_was_given_up_is_repeated_by_its_nonce(
    driver: Driver, turns: int
) -> None:
    await push(driver, *names(30))
    done: list[str] = []
    for nonce in range(1, 11):
        await give_up(driver.exchange(Q, ME, want=3, nonce=nonce), turns)
        jobs = (await driver.exchange(Q, ME, want=3, nonce=nonce)).jobs
        assert await settle(driver, *map(ack, jobs)) == []
        done += ids(jobs)
    assert done == names(30)
    assert (await driver.stats([Q]))[Q].reserved == 0


@pytest.mark.parametrize("turns", STEPS)
async def test_settlements_that_were_given_up_are_repeated(driver: Driver, turns: int) -> None:
    await push(driver, *names(20))
    held = await reserve(driver, 20)
    await give_up(driver.exchange(Q, ME, [ack(job) for job in held]), turns)
    assert await settle(driver, *map(ack, held)) in ([], names(20))
    stats = (await driver.stats([Q]))[Q]
    assert (stats.size, stats.reserved) == (0, 0)


@pytest.mark.parametrize("turns", STEPS)
async def test_many_at_once_are_given_up(make_driver: MakeDriver, turns: int) -> None:
    one, two = await make_driver(), await make_driver()
    await push(one, *names(40))
    await asyncio.gather(
        *(give_up(one.exchange(Q, f"w-{n}", want=1, nonce=1), turns) for n in range(20)),
        *(give_up(one.stats([Q]), turns) for _ in range(5)),
    )
    for n in range(20):
        [job] = (await one.exchange(Q, f"w-{n}", want=1, nonce=1)).jobs
        assert await settle(two, ack(job), owner=f"w-{n}") == []
    assert len(await drain(two)) == 20
