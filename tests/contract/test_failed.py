"""The failed jobs: listed, requeued, forgotten; and their ``failed()`` hooks, claimed like jobs."""

from __future__ import annotations

import asyncio

import pytest

from queued.drivers.base import NO_COUNTS, Charge, Driver, FailedJob, State
from tests.contract.conftest import MakeDriver
from tests.contract.steps import (
    Q,
    ack,
    drain,
    fail,
    failed_job,
    hold,
    ids,
    info,
    look,
    names,
    notes,
    push,
    reserve,
    retry,
    settle,
    size,
    until,
)


def listed(jobs: list[FailedJob]) -> list[str]:
    return [job.id for job in jobs]


async def test_newest_first(driver: Driver) -> None:
    for name in names(7):
        await failed_job(driver, name)
    newest = names(7)[::-1]
    assert listed(await driver.failed(Q)) == newest
    assert listed(await driver.failed(Q, 3)) == newest[:3]
    assert listed(await driver.failed(Q, 3, 2)) == newest[2:5]
    assert listed(await driver.failed(Q, 3, 6)) == newest[6:]
    assert listed(await driver.failed(Q, offset=7)) == []
    assert listed(await driver.failed(Q, 0)) == []
    assert listed(await driver.failed(Q, 0, 2)) == []
    assert listed(await driver.failed("other")) == []


async def test_fifty_by_default(driver: Driver) -> None:
    await push(driver, *names(60))
    await settle(driver, *map(fail, await reserve(driver, 60)))
    assert len(await driver.failed(Q)) == 50
    assert len(await driver.failed(Q, 60)) == 60


async def test_a_job_that_fails_again_is_the_newest(driver: Driver) -> None:
    await failed_job(driver, "a")
    await failed_job(driver, "b")
    await driver.requeue(Q, ["a"])
    await settle(driver, *map(fail, await reserve(driver)))
    assert listed(await driver.failed(Q)) == ["a", "b"]


async def test_requeue(driver: Driver) -> None:
    """failed → ready at the tail, with fresh counts; the history stays."""
    held = await hold(driver, "a")
    await settle(driver, retry(held, charge=Charge.TIMEOUT, note=b"one"))
    [held] = await reserve(driver)
    await settle(driver, fail(held, note=b"two"))
    await push(driver, "b")
    assert await driver.requeue(Q, ["a"]) == [True]
    found = await info(driver, "a")
    assert (found.state, found.counts, found.failed) == (State.READY, NO_COUNTS, None)
    assert await driver.failed(Q) == []
    first, second = await reserve(driver, 2)
    assert (first.id, second.id) == ("b", "a")
    assert (second.payload, second.counts) == (b"a", NO_COUNTS)
    assert notes(second.history) == [b"one", b"two"]
    assert second.fence > held.fence
    assert second.ready_at >= held.reserved_at - 0.001
    assert await settle(driver, ack(held)) == ["a"]


async def test_requeue_says_which_were_no_failed_jobs(driver: Driver) -> None:
    await failed_job(driver, "a")
    await failed_job(driver, "b")
    await push(driver, "waits")
    await push(driver, "later", delay=60)
    asked = ["b", "nothing", "waits", "later", "a"]
    assert await driver.requeue("other", asked) == [False] * 5
    assert await driver.requeue(Q, asked) == [True, False, False, False, True]
    assert await driver.requeue(Q, asked) == [False] * 5
    assert await driver.requeue(Q, []) == []
    assert await drain(driver) == ["waits", "b", "a"]


async def test_a_reserved_job_cannot_be_requeued_or_forgotten(driver: Driver) -> None:
    held = await hold(driver, "a")
    assert await driver.requeue(Q, ["a"]) == [False]
    assert await driver.forget(Q, ["a"]) == [False]
    assert await settle(driver, ack(held)) == []


async def test_forget(driver: Driver) -> None:
    for name in ("a", "b", "c"):
        await failed_job(driver, name, hook=0)
    await push(driver, "waits")
    asked = ["a", "nothing", "waits", "c"]
    assert await driver.forget("other", asked) == [False] * 4
    assert await driver.forget(Q, asked) == [True, False, False, True]
    assert await driver.forget(Q, asked) == [False] * 4
    assert listed(await driver.failed(Q)) == ["b"]
    assert await driver.find("a") is None
    assert listed(await driver.claim_hooks(Q, 10, 60)) == ["b"]
    assert await drain(driver) == ["waits"]
    assert (await driver.stats([Q]))[Q].failed == 1


async def test_a_forgotten_id_may_return(driver: Driver) -> None:
    await failed_job(driver, "a")
    await driver.forget(Q, ["a"])
    held = await hold(driver, "a")
    assert (held.counts, held.history) == (NO_COUNTS, b"")


@pytest.mark.parametrize("hook", [0.0, 0.05])
async def test_a_hook_is_claimed_when_due(driver: Driver, hook: float) -> None:
    held = await hold(driver, "a")
    await settle(driver, fail(held, Charge.CRASH, record=b"why", note=b"note", hook=hook))
    [claimed] = await until(lambda: driver.claim_hooks(Q, 10, 60))
    assert (claimed.id, claimed.queue, claimed.payload) == ("a", Q, b"a")
    assert (claimed.record, claimed.counts.crashes) == (b"why", 1)
    assert notes(claimed.history) == [b"note"]
    assert claimed.hook_pending


async def test_a_hook_that_is_not_due_is_not_claimed(driver: Driver) -> None:
    await failed_job(driver, "a", hook=60)
    assert await driver.claim_hooks(Q, 10, 60) == []
    assert not (await look(driver)).hooks_due
    assert (await driver.failed(Q))[0].hook_pending


async def test_without_a_hook_there_is_nothing_to_claim(driver: Driver) -> None:
    await failed_job(driver, "a")
    assert await driver.claim_hooks(Q, 10, 60) == []
    assert not (await look(driver)).hooks_due
    assert not (await driver.failed(Q))[0].hook_pending


async def test_the_exchange_says_that_a_hook_is_due(driver: Driver) -> None:
    await failed_job(driver, "a", hook=0)
    assert (await look(driver)).hooks_due
    assert (await driver.exchange(Q, "another", want=1, nonce=1)).hooks_due
    assert not (await look(driver, "other")).hooks_due
    await driver.claim_hooks(Q, 10, 60)
    assert not (await look(driver)).hooks_due


async def test_a_claim_puts_a_hook_off(driver: Driver) -> None:
    """Its claimer may die: the hook is due again for another one, until it is finished."""
    await failed_job(driver, "a", hook=0)
    assert listed(await driver.claim_hooks(Q, 10, 0.05)) == ["a"]
    assert listed(await until(lambda: driver.claim_hooks(Q, 10, 60))) == ["a"]
    assert await driver.claim_hooks(Q, 10, 60) == []
    assert (await driver.failed(Q))[0].hook_pending


async def test_claims_are_bounded_and_never_the_same(make_driver: MakeDriver) -> None:
    one, two = await make_driver(), await make_driver()
    for name in names(5):
        await failed_job(one, name, hook=0)
    claimed = [await client.claim_hooks(Q, 2, 60) for client in (one, two, one)]
    assert [len(jobs) for jobs in claimed] == [2, 2, 1]
    assert sorted(job.id for jobs in claimed for job in jobs) == names(5)
    assert await two.claim_hooks(Q, 2, 60) == []


async def test_a_finished_hook_is_over(driver: Driver) -> None:
    await failed_job(driver, "a", hook=0)
    await driver.claim_hooks(Q, 10, 0.01)
    await driver.finish_hook(Q, "a")
    await driver.finish_hook(Q, "a")
    await driver.finish_hook(Q, "nothing")
    await driver.finish_hook("other", "a")
    assert not (await driver.failed(Q))[0].hook_pending
    assert await driver.claim_hooks(Q, 10, 60) == []
    assert (await driver.failed(Q))[0].record == b"why a"


async def test_a_requeued_job_takes_its_hook_along(driver: Driver) -> None:
    await failed_job(driver, "a", hook=0)
    await driver.requeue(Q, ["a"])
    assert await driver.claim_hooks(Q, 10, 60) == []
    assert not (await look(driver)).hooks_due
    await driver.finish_hook(Q, "a")
    assert ids(await reserve(driver)) == ["a"]
    assert await size(driver) == 0


async def test_finishing_leaves_a_job_that_fails_again_its_new_hook(driver: Driver) -> None:
    await failed_job(driver, "a", hook=0)
    await driver.requeue(Q, ["a"])
    [held] = await reserve(driver)
    await driver.finish_hook(Q, "a")
    await settle(driver, fail(held, hook=0))
    assert listed(await driver.claim_hooks(Q, 10, 60)) == ["a"]


async def test_an_earlier_failures_hook_finishes_no_later_one(driver: Driver) -> None:
    await failed_job(driver, "a", hook=0)
    [earlier] = await driver.claim_hooks(Q, 10, 60)
    await driver.requeue(Q, ["a"])
    [held] = await reserve(driver)
    await settle(driver, fail(held, hook=0)._replace(record=b"why else"))
    await driver.finish_hook(Q, "a", earlier.record)
    [later] = await driver.claim_hooks(Q, 10, 60)
    assert later.record == b"why else"
    await driver.finish_hook(Q, "a", later.record)
    assert not (await driver.failed(Q))[0].hook_pending


async def test_prune_removes_what_failed_long_ago(driver: Driver) -> None:
    for name in names(4):
        await failed_job(driver, name)
    assert await driver.prune(Q, 3600.0) == 0
    assert await driver.prune("other", 0.0) == 0
    await asyncio.sleep(0.01)
    assert await driver.prune(Q, 0.0, 3) == 3
    assert listed(await driver.failed(Q)) == names(4)[3:]
    assert (await driver.stats([Q]))[Q].failed == 1
    assert await driver.find(names(4)[0]) is None
    assert await driver.prune(Q, 0.0) == 1
    assert await driver.prune(Q, 0.0) == 0


async def test_prune_tells_the_old_from_the_new(driver: Driver) -> None:
    now = (await driver.ticks(Q)).now
    for name, ago in (("old", 7_200.0), ("new", 1_800.0)):
        one = FailedJob(name, Q, b"", b"{}", failed_at=now - ago, enqueued_at=now - 9_000.0)
        assert await driver.restore(Q, [one]) == [True]
    assert await driver.prune(Q, 3_600.0) == 1
    assert listed(await driver.failed(Q)) == ["new"]


async def test_prune_leaves_jobs_whose_hook_is_still_to_run(driver: Driver) -> None:
    for name in ("a", "b", "c"):
        held = await hold(driver, name)
        await settle(driver, fail(held, hook=60.0 if name != "b" else None))
    await asyncio.sleep(0.01)
    assert await driver.prune(Q, 0.0, 1) == 1
    assert listed(await driver.failed(Q)) == ["c", "a"]
    assert await driver.prune(Q, 0.0, 1) == 0
    await driver.finish_hook(Q, "a")
    assert await driver.prune(Q, 0.0) == 1
    assert listed(await driver.failed(Q)) == ["c"]


async def test_two_that_prune_remove_no_more_than_one(
    driver: Driver, make_driver: MakeDriver
) -> None:
    for name in names(5):
        await failed_job(driver, name)
    await asyncio.sleep(0.01)
    other = await make_driver()
    assert sum(await asyncio.gather(driver.prune(Q, 0.0), other.prune(Q, 0.0))) == 5
    assert (await driver.stats([Q]))[Q].failed == 0


async def test_what_is_pruned_can_be_enqueued_again(driver: Driver) -> None:
    await failed_job(driver, "a")
    await asyncio.sleep(0.01)
    assert await driver.prune(Q, 0.0) == 1
    await push(driver, "a")
    assert (await info(driver, "a")).state is State.READY
