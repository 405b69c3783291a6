"""reserve: ready → reserved, with a new fence and an owner; first in, first out; n at a time."""

from __future__ import annotations

import asyncio

import pytest

from queued.drivers.base import MAX_BATCH, Driver, State
from tests.contract.conftest import MakeDriver
from tests.contract.steps import (
    ME,
    OTHER,
    Q,
    ack,
    drain,
    failed_job,
    hold,
    ids,
    info,
    names,
    push,
    release,
    reserve,
    reserve_when_ready,
    retry,
    settle,
    size,
    until,
)


async def test_first_in_first_out(driver: Driver) -> None:
    for name in names(30):
        await push(driver, name)
    got = [ids(await reserve(driver, want)) for want in (1, 2, 7, 20)]
    assert [name for batch in got for name in batch] == names(30)
    assert [len(batch) for batch in got] == [1, 2, 7, 20]


async def test_a_reservation_says_all_about_its_job(driver: Driver) -> None:
    held = await hold(driver, "a")
    assert (held.id, held.payload, held.history) == ("a", b"a", b"")
    assert held.counts.runs == 0
    assert held.enqueued_at == pytest.approx(held.ready_at, abs=0.001)
    assert held.reserved_at >= held.ready_at - 0.001
    found = await info(driver, "a")
    assert (found.state, found.owner) == (State.RESERVED, ME)
    assert found.reserved_at == pytest.approx(held.reserved_at, abs=0.001)


async def test_no_more_than_wanted_no_more_than_there_are(driver: Driver) -> None:
    await push(driver, "a", "b", "c")
    assert await reserve(driver, 0) == []
    assert ids(await reserve(driver, 2)) == ["a", "b"]
    assert ids(await reserve(driver, 100)) == ["c"]
    assert await reserve(driver, 100) == []


async def test_empty_is_an_empty_answer(driver: Driver) -> None:
    answer = await driver.exchange("never-seen", ME, want=5, nonce=1)
    assert (answer.jobs, answer.lost, answer.next_due) == ([], [], None)
    assert not answer.hooks_due
    assert not answer.suspects


async def test_a_full_batch_at_once(driver: Driver) -> None:
    await push(driver, *names(MAX_BATCH))
    await push(driver, "one-more")
    jobs = await reserve(driver, MAX_BATCH)
    assert ids(jobs) == names(MAX_BATCH)
    assert await settle(driver, *map(ack, jobs)) == []
    assert await drain(driver) == ["one-more"]


async def test_fences_rise_within_a_batch_and_over_owners(driver: Driver) -> None:
    await push(driver, *names(9))
    fences = []
    for owner in (ME, OTHER, ME):
        fences += [job.fence for job in await reserve(driver, 3, owner=owner)]
    assert fences == sorted(set(fences))
    assert min(fences) > 0


async def test_fences_never_fall(driver: Driver) -> None:
    """Whatever became of the job before: settled, cancelled, purged, failed and requeued."""
    held = await hold(driver, "a")
    fences = [held.fence]

    async def again() -> None:
        nonlocal held
        [held] = await reserve_when_ready(driver)
        fences.append(held.fence)

    await settle(driver, retry(held))
    await again()
    await settle(driver, retry(held, 0.01))
    await again()
    await settle(driver, release(held))
    await again()
    await settle(driver, release(held))
    await driver.cancel(Q, "a")
    await push(driver, "a")
    await again()
    await settle(driver, release(held))
    await driver.purge(Q)
    await push(driver, "a")
    await again()
    await settle(driver, ack(held))
    held = await failed_job(driver, "a")
    fences.append(held.fence)
    await driver.requeue(Q, ["a"])
    await again()
    await settle(driver, ack(held))
    held = await failed_job(driver, "a")
    fences.append(held.fence)
    await driver.forget(Q, ["a"])
    await push(driver, "a")
    await again()
    assert fences == sorted(set(fences))


async def test_settling_comes_first(driver: Driver) -> None:
    """One exchange hands a job back and gets it again, under a new fence."""
    held = await hold(driver, "a")
    answer = await driver.exchange(Q, ME, [release(held)], want=1, nonce=1_000_000)
    assert ids(answer.jobs) == ["a"]
    assert answer.jobs[0].fence > held.fence
    assert answer.lost == []


async def test_the_same_nonce_returns_the_same_batch(driver: Driver) -> None:
    await push(driver, *names(10))
    first = await driver.exchange(Q, ME, want=3, nonce=1)
    again = await driver.exchange(Q, ME, want=3, nonce=1)
    assert again.jobs == first.jobs
    assert ids(again.jobs) == names(3)
    other = await driver.exchange(Q, OTHER, want=3, nonce=1)
    assert ids(other.jobs) == names(10)[3:6]
    following = await driver.exchange(Q, ME, want=3, nonce=2)
    assert ids(following.jobs) == names(10)[6:9]
    assert (await driver.exchange(Q, ME, want=3, nonce=2)).jobs == following.jobs
    assert await size(driver) == 1


async def test_a_repeat_of_another_exchange_in_between_reserves_nothing(driver: Driver) -> None:
    """A late copy of a call that was answered long ago: nobody would read what it reserved."""
    await push(driver, *names(4))
    await driver.exchange(Q, ME, want=1, nonce=1)
    await driver.exchange(Q, ME, want=1, nonce=2)
    assert (await driver.exchange(Q, ME, want=1, nonce=1)).jobs == []
    assert await size(driver) == 2


async def test_settlements_that_are_repeated_are_lost_and_the_batch_is_the_same(
    driver: Driver,
) -> None:
    await push(driver, *names(4))
    first = await driver.exchange(Q, ME, want=2, nonce=1)
    settlements = [ack(first.jobs[0]), retry(first.jobs[1])]
    second = await driver.exchange(Q, ME, settlements, want=2, nonce=2)
    assert (second.lost, ids(second.jobs)) == ([], names(4)[2:])
    again = await driver.exchange(Q, ME, settlements, want=2, nonce=2)
    assert sorted(again.lost) == names(2)
    assert again.jobs == second.jobs
    assert (await info(driver, "job-0001")).counts.errors == 1


async def test_nonces_are_an_owners_own(driver: Driver) -> None:
    await push(driver, *names(2))
    [mine] = (await driver.exchange(Q, ME, want=1, nonce=7)).jobs
    [others] = (await driver.exchange(Q, OTHER, want=1, nonce=7)).jobs
    assert mine.id != others.id


async def test_without_a_nonce_nothing_is_repeated(driver: Driver) -> None:
    await push(driver, *names(2))
    assert ids((await driver.exchange(Q, ME, want=1)).jobs) == ["job-0000"]
    assert ids((await driver.exchange(Q, ME, want=1)).jobs) == ["job-0001"]


async def test_reserve_promotes_what_is_due(driver: Driver) -> None:
    await push(driver, "a", "b", "c", delay=0.05)
    got: list[str] = []

    async def all_three() -> bool:
        got.extend(ids(await reserve(driver, 2)))
        return len(got) == 3

    await until(all_three)
    assert got == ["a", "b", "c"]


async def test_two_clients_see_one_queue(make_driver: MakeDriver) -> None:
    one, two = await make_driver(), await make_driver()
    await push(one, "a", "b")
    [held] = await reserve(two, owner=OTHER)
    assert ids(await reserve(one)) == ["b"]
    assert await settle(one, ack(held), owner=OTHER) == []


async def test_one_client_may_serve_several_at_once(driver: Driver) -> None:
    await push(driver, *names(40))
    batches = await asyncio.gather(*(reserve(driver, 2, owner=f"w-{n}") for n in range(20)))
    assert sorted(job.id for batch in batches for job in batch) == names(40)
