"""Leases belong to owners: registered, renewed, expired, retired; what a dead one held returns."""

from __future__ import annotations

import pytest

from queued.drivers.base import Charge, Driver, Release, Reservation, State
from queued.errors import OwnerLost
from tests.contract.conftest import MakeDriver
from tests.contract.steps import (
    ME,
    OTHER,
    Q,
    ack,
    drain,
    fail,
    hold,
    ids,
    info,
    look,
    names,
    push,
    release,
    reserve,
    retry,
    settle,
    size,
    until,
)


async def hold_for(driver: Driver, lease: float, *ids: str) -> list[Reservation]:
    """Reserve new jobs in the first exchange of ME, which registers it for ``lease`` seconds."""
    await push(driver, *ids)
    return (await driver.exchange(Q, ME, want=len(ids), nonce=1, lease=lease)).jobs


async def expired(driver: Driver, owner: str = ME) -> None:
    """Wait until the lease of an owner that holds something has run out."""

    async def ran_out() -> bool:
        return (await driver.owners(Q))[owner] < 0

    await until(ran_out)


async def refused(driver: Driver, owner: str = ME) -> bool:
    try:
        await driver.exchange(Q, owner, want=1)
    except OwnerLost:
        return True
    return False


async def test_the_first_reserve_registers_the_owner(driver: Driver) -> None:
    assert await driver.owners(Q) == {}
    await driver.exchange(Q, ME, want=1, nonce=1, lease=20)
    await hold(driver, "a", owner=OTHER)
    owners = await driver.owners(Q)
    assert owners.keys() == {ME, OTHER}
    assert 0 < owners[ME] <= 20
    assert 20 < owners[OTHER] <= 30
    assert await driver.owners("other") == {}


async def test_later_reserves_write_no_lease(driver: Driver) -> None:
    await hold_for(driver, 0.1, "a")
    await driver.exchange(Q, ME, want=1, nonce=2, lease=60)
    assert (await driver.owners(Q))[ME] <= 0.1
    await expired(driver)


async def test_renew_sets_the_leases_of_a_batch(driver: Driver) -> None:
    await hold_for(driver, 5, "a")
    assert await driver.renew(Q, [ME, OTHER], 60) == []
    owners = await driver.owners(Q)
    assert owners.keys() == {ME, OTHER}
    assert all(50 < left <= 60 for left in owners.values())
    assert await driver.renew(Q, [], 60) == []


async def test_renew_of_many(driver: Driver) -> None:
    many = [f"worker-{n}" for n in range(200)]
    assert await driver.renew(Q, many, 60) == []
    assert sorted(await driver.owners(Q)) == sorted(many)


async def test_an_expired_owner_is_shown_while_it_holds_jobs(driver: Driver) -> None:
    [held] = await hold_for(driver, 0.05, "a")
    await expired(driver)
    assert await settle(driver, ack(held)) == []


async def test_an_expired_owner_that_nobody_retired_goes_on(driver: Driver) -> None:
    """The lease lets others take over. Until one does, nothing is taken away."""
    [held] = await hold_for(driver, 0.05, "a")
    await expired(driver)
    await push(driver, "b")
    answer = await driver.exchange(Q, ME, [ack(held)], want=1, nonce=2)
    assert (answer.lost, ids(answer.jobs)) == ([], ["b"])


async def test_a_renewal_revives_an_expired_owner(driver: Driver) -> None:
    await hold_for(driver, 0.05, "a")
    await expired(driver)
    assert await driver.renew(Q, [ME], 60) == []
    assert (await driver.owners(Q))[ME] > 0
    assert await driver.retire(Q, ME, only_expired=True) == []
    assert not await refused(driver)


async def test_retire_returns_what_is_held(driver: Driver) -> None:
    held = await hold_for(driver, 30, "a", "b", "c")
    await settle(driver, ack(held[1]))
    await hold(driver, "others", owner=OTHER)
    returned = sorted(await driver.retire(Q, ME))
    assert returned == [held[0], held[2]]
    assert (await info(driver, "a")).state is State.RESERVED
    assert sorted(await driver.retire(Q, ME)) == returned


async def test_what_is_returned_carries_the_earlier_runs(driver: Driver) -> None:
    held = await hold(driver, "a")
    await settle(driver, retry(held, note=b"one"))
    [held] = await reserve(driver)
    [returned] = await driver.retire(Q, ME)
    assert returned == held
    assert (returned.counts.errors, returned.history.strip()) == (1, b"one")


async def test_a_retired_owner_reserves_nothing_for_ever(driver: Driver) -> None:
    [held] = await hold_for(driver, 30, "a")
    await push(driver, "b")
    await driver.retire(Q, ME)
    assert await refused(driver)
    assert await settle(driver, ack(held)) == []
    assert await refused(driver)
    assert await driver.renew(Q, [ME, OTHER], 60) == [ME]
    assert await refused(driver)
    assert await driver.retire(Q, ME) == []
    assert await refused(driver)
    assert await drain(driver, owner=OTHER) == ["b"]


async def test_a_repeated_nonce_gives_a_retired_owner_nothing(driver: Driver) -> None:
    """A reserve that was on its way when its worker was killed is refused."""
    await hold_for(driver, 30, "a")
    await driver.retire(Q, ME)
    with pytest.raises(OwnerLost):
        await driver.exchange(Q, ME, want=1, nonce=1)


async def test_an_owner_retired_before_its_first_reserve(driver: Driver) -> None:
    await push(driver, "a")
    assert await driver.retire(Q, ME) == []
    assert await refused(driver)
    assert await driver.renew(Q, [ME], 60) == [ME]
    assert await drain(driver, owner=OTHER) == ["a"]


async def test_a_retired_owner_is_listed_while_it_holds_jobs(driver: Driver) -> None:
    """So that any host's janitor finds what a monitor that died left unsettled."""
    [held] = await hold_for(driver, 30, "a")
    await driver.retire(Q, ME)
    assert (await driver.owners(Q))[ME] < 0
    await driver.renew(Q, [ME], 60)
    assert (await driver.owners(Q))[ME] < 0
    assert await settle(driver, release(held)) == []
    assert ME not in await driver.owners(Q)


async def test_a_dead_owners_jobs_are_settled_by_verdict(driver: Driver) -> None:
    await hold_for(driver, 30, *names(5))
    await push(driver, "waits")
    a, b, c, d, e = sorted(await driver.retire(Q, ME))
    verdicts = [
        ack(a),
        retry(b, 60, Charge.TIMEOUT),
        fail(c, Charge.CRASH, hook=0),
        release(d, Charge.LOST),
        release(e, Charge.NONE),
    ]
    assert await settle(driver, *verdicts) == []
    assert await settle(driver, *verdicts) == names(5)
    assert await driver.find(a.id) is None
    assert (await info(driver, b.id)).counts.timeouts == 1
    assert (await info(driver, c.id)).state is State.FAILED
    again = await reserve(driver, 5, owner=OTHER)
    assert ids(again) == ["job-0003", "job-0004", "waits"]
    assert [job.counts.suspicion for job in again] == [1, 0, 0]


async def test_a_worker_that_comes_back_cannot_settle_what_others_hold(driver: Driver) -> None:
    """It was stopped for longer than its lease; meanwhile its job runs elsewhere."""
    [stale] = await hold_for(driver, 0.05, "a")
    await expired(driver)
    [returned] = await driver.retire(Q, ME, only_expired=True)
    await settle(driver, Release(returned.id, returned.fence, Charge.LOST))
    [held] = await reserve(driver, owner=OTHER)
    assert held.fence > stale.fence
    before = await info(driver, "a")
    for settlement in (ack(stale), retry(stale), release(stale), fail(stale)):
        assert await settle(driver, settlement) == ["a"]
        with pytest.raises(OwnerLost):
            await driver.exchange(Q, ME, [settlement], want=1)
    assert await info(driver, "a") == before
    assert await settle(driver, ack(held), owner=OTHER) == []


async def test_an_answer_of_owner_lost_leaves_nothing_half_done(driver: Driver) -> None:
    """Whether the late settlement or the janitor's comes first: the job is settled once."""
    [held] = await hold_for(driver, 30, "a")
    [returned] = await driver.retire(Q, ME)
    with pytest.raises(OwnerLost):
        await driver.exchange(Q, ME, [ack(held)], want=1, nonce=2)
    applied = await driver.find("a") is None
    assert await settle(driver, ack(returned)) == (["a"] if applied else [])
    assert await driver.find("a") is None
    assert await driver.retire(Q, ME) == []


async def test_only_expired_leaves_a_living_owner_alone(driver: Driver) -> None:
    [held] = await hold_for(driver, 30, "a")
    await driver.renew(Q, [OTHER], 30)
    for owner in (ME, OTHER):
        assert await driver.retire(Q, owner, only_expired=True) == []
        assert not await refused(driver, owner)
    assert (await driver.owners(Q))[ME] > 0
    assert await settle(driver, ack(held)) == []


async def test_only_expired_takes_over_from_a_dead_one(driver: Driver) -> None:
    held = await hold_for(driver, 0.05, "a", "b")
    await expired(driver)
    assert sorted(await driver.retire(Q, ME, only_expired=True)) == held
    assert sorted(await driver.retire(Q, ME, only_expired=True)) == held
    assert await refused(driver)


async def test_only_expired_returns_what_a_retired_owner_holds(driver: Driver) -> None:
    """A monitor died after it retired an owner: the reaper of any host settles the rest."""
    [held] = await hold_for(driver, 30, "a")
    await driver.retire(Q, ME)
    assert await driver.retire(Q, ME, only_expired=True) == [held]


async def test_retiring_concerns_one_queue(driver: Driver) -> None:
    await hold(driver, "a", queue="one")
    await hold(driver, "b", queue="two")
    assert ids(await driver.retire("one", ME)) == ["a"]
    await push(driver, "c", queue="two")
    assert ids(await reserve(driver, queue="two")) == ["c"]


async def test_of_two_janitors_one_settles(make_driver: MakeDriver) -> None:
    one, two = await make_driver(), await make_driver()
    await push(one, *names(20))
    await reserve(one, 20)
    first, second = await one.retire(Q, ME), await two.retire(Q, ME)
    assert sorted(first) == sorted(second)
    lost = await settle(one, *(release(job, Charge.LOST) for job in first[:15]))
    lost += await settle(two, *(release(job, Charge.LOST) for job in second))
    assert sorted(lost) == sorted(ids(first[:15]))
    assert await size(one) == 20
    again = await reserve(two, 20, owner=OTHER)
    assert {job.counts.lost for job in again} == {1}
    assert not (await look(one)).suspects


async def test_what_an_owner_holds_is_told_with_its_fences(driver: Driver) -> None:
    assert await driver.held(Q, ME) == {}
    await push(driver, "a", "b", "c")
    a, b = await reserve(driver, 2)
    [c] = await reserve(driver, owner=OTHER)
    assert await driver.held(Q, ME) == {"a": a.fence, "b": b.fence}
    await settle(driver, ack(a), retry(b))
    assert await driver.held(Q, ME) == {}
    assert await driver.held(Q, OTHER) == {"c": c.fence}
