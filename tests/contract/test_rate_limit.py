"""Rate limits: a reserve takes no more jobs than there are tokens, whoever reserves."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

from queued.drivers.base import Charge, Driver, Exchange, RateLimit
from tests.contract.conftest import MakeDriver
from tests.contract.steps import (
    ME,
    OTHER,
    Q,
    ack,
    ids,
    names,
    push,
    release,
    retry,
    settle,
    until,
)

SLOW = RateLimit(every=1000.0, burst=3)
"""None comes while a test runs: it has what is there at first."""

_nonces = itertools.count(1)


async def limited(
    driver: Driver, want: int, limit: RateLimit | None = SLOW, owner: str = ME
) -> Exchange:
    return await driver.exchange(Q, owner, want=want, nonce=next(_nonces), limit=limit)


def within(reserved: Sequence[float], limit: RateLimit) -> bool:
    """Whether in no span of time more were reserved than its tokens, and those that were there."""
    times = sorted(reserved)
    return all(
        len(times[first : last + 1])
        <= limit.burst + (times[last] - times[first]) / limit.every + 0.01
        for first in range(len(times))
        for last in range(first, len(times))
    )


async def test_no_more_than_there_are_tokens(driver: Driver) -> None:
    await push(driver, *names(10))
    answer = await limited(driver, 2)
    assert (ids(answer.jobs), answer.held_for) == (names(10)[:2], None)
    answer = await limited(driver, 5)
    assert ids(answer.jobs) == names(10)[2:3]
    assert answer.held_for is not None
    assert 900 < answer.held_for <= 1000
    assert (await limited(driver, 5)).jobs == []


async def test_it_holds_over_all_who_reserve(driver: Driver, make_driver: MakeDriver) -> None:
    await push(driver, *names(10))
    other = await make_driver()
    got = [len((await limited(driver, 2)).jobs), len((await limited(other, 2, owner=OTHER)).jobs)]
    assert got == [2, 1]
    assert (await limited(driver, 2)).jobs == (await limited(other, 2, owner=OTHER)).jobs == []


async def test_a_queue_has_its_own_tokens(driver: Driver) -> None:
    await push(driver, *names(5))
    await push(driver, *names(5), queue="other")
    assert len((await limited(driver, 5)).jobs) == 3
    answer = await driver.exchange("other", ME, want=5, nonce=next(_nonces), limit=SLOW)
    assert len(answer.jobs) == 3


async def test_a_token_comes_with_time(driver: Driver) -> None:
    limit = RateLimit(every=0.05, burst=1)
    await push(driver, *names(4))
    reserved: list[float] = []

    async def all_came() -> bool:
        answer = await limited(driver, 10, limit)
        assert len(answer.jobs) <= 1 or reserved == []
        assert answer.held_for is None or 0 < answer.held_for <= 0.051
        reserved.extend(job.reserved_at for job in answer.jobs)
        return len(reserved) == 4

    await until(all_came)
    assert within(reserved, limit)


async def test_many_who_reserve_keep_the_limit_together(
    driver: Driver, make_driver: MakeDriver
) -> None:
    limit = RateLimit(every=0.01, burst=5)
    total = 60
    await push(driver, *names(total))
    reserved: list[float] = []

    async def work(client: Driver, owner: str) -> None:
        while len(reserved) < total:
            answer = await limited(client, 3, limit, owner)
            reserved.extend(job.reserved_at for job in answer.jobs)
            await settle(client, *map(ack, answer.jobs), owner=owner)
            if answer.held_for is not None:
                await asyncio.sleep(answer.held_for)

    clients = [await make_driver() for _ in range(4)]
    async with asyncio.timeout(60):
        await asyncio.gather(*(work(client, f"w-{n}") for n, client in enumerate(clients)))
    assert len(reserved) == total
    assert within(reserved, limit)


async def test_after_a_quiet_time_there_are_as_many_as_the_burst(driver: Driver) -> None:
    limit = RateLimit(every=0.001, burst=4)
    await push(driver, *names(20))
    assert len((await limited(driver, 20, limit)).jobs) == 4
    await asyncio.sleep(0.1)
    assert len((await limited(driver, 20, limit)).jobs) == 4


async def test_each_run_takes_a_token(driver: Driver) -> None:
    await push(driver, "a")
    for _ in range(3):
        [held] = (await limited(driver, 5)).jobs
        assert await settle(driver, retry(held)) == []
    assert (await limited(driver, 5)).jobs == []


async def test_what_was_handed_back_unstarted_returns_its_token(driver: Driver) -> None:
    await push(driver, *names(3))
    jobs = (await limited(driver, 5)).jobs
    await settle(driver, *(release(job, Charge.NONE) for job in jobs))
    again = (await limited(driver, 5)).jobs
    assert ids(again) == names(3)
    await settle(driver, *(release(job, Charge.RELEASE) for job in again))
    assert (await limited(driver, 5)).jobs == []


async def test_tokens_that_are_returned_are_no_more_than_the_burst(driver: Driver) -> None:
    limit = RateLimit(every=0.001, burst=2)
    await push(driver, *names(10))
    jobs = (await limited(driver, 5, limit)).jobs
    await asyncio.sleep(0.05)
    await settle(driver, *(release(job, Charge.NONE) for job in jobs))
    assert len((await limited(driver, 5, limit)).jobs) == 2


async def test_a_batch_whose_answer_was_lost_takes_no_more(driver: Driver) -> None:
    await push(driver, *names(10))
    first = await driver.exchange(Q, ME, want=2, nonce=10**6, limit=SLOW)
    again = await driver.exchange(Q, ME, want=2, nonce=10**6, limit=SLOW)
    assert ids(first.jobs) == ids(again.jobs)
    last = await driver.exchange(Q, ME, want=5, nonce=10**6 + 1, limit=SLOW)
    assert len(last.jobs) == 1


async def test_nothing_taken_takes_no_token(driver: Driver) -> None:
    for _ in range(10):
        answer = await limited(driver, 5)
        assert (answer.jobs, answer.held_for) == ([], None)
    await push(driver, *names(5))
    assert len((await limited(driver, 5)).jobs) == 3


async def test_without_a_limit_no_token_is_needed(driver: Driver) -> None:
    await push(driver, *names(10))
    assert len((await limited(driver, 5)).jobs) == 3
    assert len((await limited(driver, 2, None)).jobs) == 2
    assert len((await limited(driver, 5, None)).jobs) == 5


async def test_a_new_limit_holds_at_once(driver: Driver) -> None:
    """What was taken under a slower one is no debt."""
    await push(driver, *names(20))  # of which a slow machine takes up to 13 before the last limit
    assert len((await limited(driver, 5)).jobs) == 3
    fast = RateLimit(every=0.01, burst=5)
    answer = await limited(driver, 5, fast)
    assert answer.held_for is None or answer.held_for <= 0.011
    reserved: list[str] = ids(answer.jobs)

    async def came() -> bool:
        reserved.extend(ids((await limited(driver, 5, fast)).jobs))
        return len(reserved) >= 3

    await until(came)
    slow = RateLimit(every=500.0, burst=1)

    async def taken() -> int:
        return len((await limited(driver, 9, slow)).jobs)

    assert await until(taken) == 1
    answer = await limited(driver, 9, slow)
    assert answer.jobs == []
    assert answer.held_for is not None
    assert 400 < answer.held_for <= 500


async def test_who_listens_keeps_it_too(driver: Driver) -> None:
    await push(driver, *names(10))
    answers = [
        await driver.listen(Q, ME, seconds=0.05, want=2, nonce=next(_nonces), limit=SLOW)
        for _ in range(3)
    ]
    assert [len(answer.jobs) for answer in answers] == [2, 1, 0]


async def test_stats_say_when_the_next_one_comes(driver: Driver) -> None:
    await push(driver, *names(5))
    assert (await driver.stats([Q]))[Q].limited_seconds == 0
    await limited(driver, 2)
    assert (await driver.stats([Q]))[Q].limited_seconds == 0
    await limited(driver, 2)
    assert 900 < (await driver.stats([Q]))[Q].limited_seconds <= 1000


async def test_who_gets_nothing_wakes_nobody(driver: Driver, make_driver: MakeDriver) -> None:
    """Else idle workers would wake each other all the time."""
    waiter = await make_driver()
    await push(driver, *names(10))
    await limited(driver, 10)
    await quiet_and_held(waiter)
    for _ in range(3):
        assert (await limited(driver, 10)).jobs == []
    loop = asyncio.get_running_loop()
    begun = loop.time()
    assert await _listen(waiter) == []
    assert loop.time() - begun >= 0.05


async def quiet_and_held(waiter: Driver) -> None:
    loop = asyncio.get_running_loop()
    while True:
        begun = loop.time()
        assert await _listen(waiter) == []
        if loop.time() - begun >= 0.05:
            return


async def _listen(waiter: Driver) -> list[object]:
    answer = await waiter.listen(Q, OTHER, seconds=0.05, want=1, nonce=next(_nonces), limit=SLOW)
    return [*answer.jobs]


async def test_a_paused_queue_takes_no_token(driver: Driver) -> None:
    await push(driver, *names(5))
    await driver.pause(Q)
    assert (await limited(driver, 5)).jobs == []
    await driver.resume(Q)
    assert len((await limited(driver, 5)).jobs) == 3
