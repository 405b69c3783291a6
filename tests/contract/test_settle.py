"""ack, retry, release, fail: reserved → what came of it. A stale one changes nothing, says so."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from queued.drivers.base import (
    MAX_BATCH,
    Ack,
    Charge,
    Driver,
    Fail,
    Release,
    Reservation,
    Retry,
    Settlement,
    State,
)
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
    notes,
    push,
    release,
    reserve,
    reserve_when_ready,
    retry,
    settle,
)

Settling = Callable[[Reservation], Settlement]
EVERY_KIND: dict[str, Settling] = {
    "ack": ack,
    "retry": retry,
    "retry later": lambda job: retry(job, 60),
    "release": release,
    "fail": fail,
}
each_kind = pytest.mark.parametrize("kind", EVERY_KIND.values(), ids=EVERY_KIND.keys())


async def test_ack_removes_every_trace(driver: Driver) -> None:
    held = await hold(driver, "a")
    assert await settle(driver, ack(held)) == []
    assert await driver.find("a") is None
    assert await driver.failed(Q) == []
    stats = (await driver.stats([Q]))[Q]
    assert (stats.size, stats.reserved, stats.failed) == (0, 0, 0)


async def test_retry_goes_to_the_tail(driver: Driver) -> None:
    await push(driver, "a", "b", "c")
    [held] = await reserve(driver)
    assert await settle(driver, retry(held)) == []
    assert (await info(driver, "a")).state is State.READY
    assert await drain(driver) == ["b", "c", "a"]


async def test_retry_makes_a_new_ready_time_and_keeps_the_first(driver: Driver) -> None:
    held = await hold(driver, "a")
    await settle(driver, retry(held))
    [again] = await reserve(driver)
    assert again.enqueued_at == pytest.approx(held.enqueued_at, abs=0.001)
    assert again.ready_at >= held.reserved_at - 0.001


async def test_retry_with_a_delay_is_scheduled(driver: Driver) -> None:
    held = await hold(driver, "a")
    assert await settle(driver, retry(held, 60)) == []
    found = await info(driver, "a")
    assert found.state is State.SCHEDULED
    assert found.due_at is not None
    assert found.due_at >= held.reserved_at + 60 - 0.001
    assert found.owner is None
    assert await reserve(driver) == []
    next_due = (await look(driver)).next_due
    assert next_due is not None
    assert 0 < next_due <= 60


async def test_a_retry_that_is_due_runs(driver: Driver) -> None:
    held = await hold(driver, "a")
    await settle(driver, retry(held, 0.05))
    [again] = await reserve_when_ready(driver)
    assert again.id == "a"
    assert again.reserved_at >= held.reserved_at + 0.049
    assert again.counts.errors == 1


async def test_retries_settled_together_keep_their_order(driver: Driver) -> None:
    await push(driver, *names(5))
    held = await reserve(driver, 3)
    await settle(driver, *map(retry, held))
    assert await drain(driver) == ["job-0003", "job-0004", "job-0000", "job-0001", "job-0002"]


async def test_release_goes_to_the_head(driver: Driver) -> None:
    await push(driver, "a", "b", "c")
    [held] = await reserve(driver)
    assert await settle(driver, release(held)) == []
    assert (await info(driver, "a")).state is State.READY
    assert await drain(driver) == ["a", "b", "c"]


async def test_release_keeps_the_ready_time(driver: Driver) -> None:
    """So that what a job waited is right although workers handed it back."""
    held = await hold(driver, "a")
    await settle(driver, retry(held, 0.02))
    [held] = await reserve_when_ready(driver)
    await settle(driver, release(held))
    [again] = await reserve(driver)
    assert again.ready_at == pytest.approx(held.ready_at, abs=0.001)
    assert again.enqueued_at == pytest.approx(held.enqueued_at, abs=0.001)


async def test_what_is_released_together_keeps_its_order(driver: Driver) -> None:
    """A worker that stops hands all back: they are the next to run, first in, first out."""
    await push(driver, *names(6))
    held = await reserve(driver, 4)
    await settle(driver, *map(release, held))
    assert await drain(driver) == names(6)


async def test_fail_keeps_everything(driver: Driver) -> None:
    held = await hold(driver, "a")
    await settle(driver, retry(held, note=b'{"run":1}'))
    [held] = await reserve(driver)
    record = b'{"error":"ValueError: x","list":[]}'
    assert await settle(driver, fail(held, Charge.TIMEOUT, record=record, note=b'{"run":2}')) == []
    [failed] = await driver.failed(Q)
    assert (failed.id, failed.queue, failed.payload, failed.record) == ("a", Q, b"a", record)
    assert (failed.counts.errors, failed.counts.timeouts, failed.counts.tries) == (1, 1, 2)
    assert notes(failed.history) == [b'{"run":1}', b'{"run":2}']
    assert failed.enqueued_at == pytest.approx(held.enqueued_at, abs=0.001)
    assert failed.failed_at >= held.reserved_at - 0.001
    assert not failed.hook_pending
    found = await info(driver, "a")
    assert (found.state, found.owner, found.failed) == (State.FAILED, None, failed)
    assert (found.counts, found.history) == (failed.counts, failed.history)


@each_kind
async def test_another_owner_cannot_settle(driver: Driver, kind: Settling) -> None:
    held = await hold(driver, "a")
    before = await info(driver, "a")
    assert await settle(driver, kind(held), owner=OTHER) == ["a"]
    assert await info(driver, "a") == before
    assert await settle(driver, kind(held)) == []


@each_kind
async def test_another_fence_cannot_settle(driver: Driver, kind: Settling) -> None:
    held = await hold(driver, "a")
    before = await info(driver, "a")
    for fence in (held.fence - 1, held.fence + 1, 0):
        assert await settle(driver, kind(held._replace(fence=fence))) == ["a"]
    assert await info(driver, "a") == before
    assert await settle(driver, kind(held)) == []


@each_kind
async def test_the_same_owner_cannot_settle_under_its_earlier_fence(
    driver: Driver, kind: Settling
) -> None:
    stale = await hold(driver, "a")
    await settle(driver, release(stale))
    [held] = await reserve(driver)
    before = await info(driver, "a")
    assert await settle(driver, kind(stale)) == ["a"]
    assert await info(driver, "a") == before
    assert await settle(driver, ack(held)) == []


@each_kind
async def test_an_unknown_job_or_queue_cannot_be_settled(driver: Driver, kind: Settling) -> None:
    held = await hold(driver, "a")
    before = await info(driver, "a")
    assert await settle(driver, kind(held._replace(id="b"))) == ["b"]
    assert await settle(driver, kind(held), queue="other") == ["a"]
    assert await info(driver, "a") == before
    assert await driver.find("b") is None
    assert await driver.queues() == [Q]


@each_kind
@pytest.mark.parametrize("back", ["retry", "retry later", "release", "fail"])
async def test_what_is_not_reserved_cannot_be_settled(
    driver: Driver, kind: Settling, back: str
) -> None:
    held = await hold(driver, "a")
    await settle(driver, EVERY_KIND[back](held))
    before = await info(driver, "a")
    for fence in (held.fence, held.fence + 1, 0):
        assert await settle(driver, kind(held._replace(fence=fence))) == ["a"]
    assert await info(driver, "a") == before


@each_kind
async def test_settling_twice_is_harmless(driver: Driver, kind: Settling) -> None:
    """Clients resend after a reset: the second one finds nothing to do."""
    held = await hold(driver, "a")
    assert await settle(driver, kind(held)) == []
    before = await driver.find("a")
    assert await settle(driver, kind(held)) == ["a"]
    assert await driver.find("a") == before


@each_kind
async def test_a_job_is_settled_once_within_an_exchange(driver: Driver, kind: Settling) -> None:
    held = await hold(driver, "a")
    assert await settle(driver, ack(held), kind(held)) == ["a"]
    assert await driver.find("a") is None
    held = await hold(driver, "a")
    assert await settle(driver, kind(held), ack(held)) == ["a"]


async def test_mixed_settlements_in_one_exchange(driver: Driver) -> None:
    await push(driver, *names(8))
    a, b, c, d, e, f = await reserve(driver, 6)
    stale = Ack("job-0006", 1)
    answer = await driver.exchange(
        Q,
        ME,
        [fail(e), ack(a), stale, retry(b), Retry("nothing", 1, 0, Charge.ERROR), retry(c, 60),
         release(d), ack(f)],
        want=10,
        nonce=10_000_000,
    )  # fmt: skip
    assert sorted(answer.lost) == ["job-0006", "nothing"]
    assert ids(answer.jobs) == ["job-0003", "job-0006", "job-0007", "job-0001"]
    states = {name: await driver.find(name, Q) for name in names(8)}
    assert states["job-0000"] is None
    assert states["job-0005"] is None
    assert {name: job.state for name, job in states.items() if job} == {
        "job-0001": State.RESERVED,
        "job-0002": State.SCHEDULED,
        "job-0003": State.RESERVED,
        "job-0004": State.FAILED,
        "job-0006": State.RESERVED,
        "job-0007": State.RESERVED,
    }


async def test_a_full_batch_of_each_kind(driver: Driver) -> None:
    await push(driver, *names(MAX_BATCH))
    held = await reserve(driver, MAX_BATCH)
    assert await settle(driver, *(release(job, note=b"n" * 200) for job in held)) == []
    held = await reserve(driver, MAX_BATCH)
    assert ids(held) == names(MAX_BATCH)
    assert await settle(driver, *(retry(job, 0.01, note=b"n" * 200) for job in held)) == []
    got: list[Reservation] = []
    while len(got) < MAX_BATCH:
        got += await reserve_when_ready(driver, MAX_BATCH)
    assert sorted(ids(got)) == names(MAX_BATCH)
    assert await settle(driver, *(fail(job, record=b"r" * 500) for job in got)) == []
    assert (await driver.stats([Q]))[Q].failed == MAX_BATCH
    assert all(await driver.requeue(Q, names(MAX_BATCH)))
    held = await reserve(driver, MAX_BATCH)
    assert await settle(driver, *map(ack, held)) == []
    assert await settle(driver, *map(ack, held)) == names(MAX_BATCH)


def test_the_kinds_are_all_there_are() -> None:
    kinds = {type(kind(Reservation("a", b"", 1, 0, 0, 0))) for kind in EVERY_KIND.values()}
    assert kinds == {Ack, Retry, Release, Fail}
