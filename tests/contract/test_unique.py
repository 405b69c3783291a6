"""Unique keys: taken with the job, held over retries, given up in the step that ends the job."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from queued.drivers.base import MAX_BATCH, Charge, Driver, Enqueued, NewJob, State, Unique
from queued.drivers.sequel import Member, NewBatch
from tests.contract.chains import chained
from tests.contract.conftest import MakeDriver
from tests.contract.steps import (
    ME,
    OTHER,
    Q,
    ack,
    drain,
    fail,
    info,
    names,
    push,
    release,
    reserve,
    reserve_when_ready,
    retry,
    settle,
    until,
)

NAME = "app.jobs.Report 7"


async def add(
    driver: Driver,
    job_id: str,
    name: str = NAME,
    *,
    seconds: float | None = None,
    delay: float = 0.0,
    queue: str = Q,
) -> Enqueued:
    new = NewJob(job_id, job_id.encode(), delay, Unique(name, seconds))
    [answer] = await driver.enqueue(queue, [new])
    return answer


async def refused_total(driver: Driver, queue: str = Q) -> int:
    return (await driver.stats([queue]))[queue].refused_total


async def test_a_second_job_is_refused_and_the_answer_names_the_first(driver: Driver) -> None:
    assert await add(driver, "a") is True
    assert await add(driver, "b") == "a"
    assert await driver.find("b", Q) is None
    assert await add(driver, "c", "app.jobs.Report 8") is True
    assert await drain(driver) == ["a", "c"]


async def test_ids_of_every_form_are_named(driver: Driver) -> None:
    for job_id in ("019ab1c2-3d4e-7f00-8a1b-2c3d4e5f6a7b", "nightly", "x" * 64):
        assert await add(driver, job_id, f"of {job_id}") is True
        assert await add(driver, "other", f"of {job_id}") == job_id


async def test_the_same_id_once_more_is_no_duplicate_of_itself(driver: Driver) -> None:
    """As of a client that asks again because the answer was lost."""
    assert await add(driver, "a") is True
    assert await add(driver, "a") is False
    assert await refused_total(driver) == 0


async def test_a_name_belongs_to_its_queue(driver: Driver) -> None:
    assert await add(driver, "a", queue="one") is True
    assert await add(driver, "b", queue="two") is True


async def test_what_jobs_are_called_is_any_text(driver: Driver) -> None:
    for number, name in enumerate(("é 日本", "a:b {x} 'q' \"q\" %s %(x)s :x ?", "x" * 400)):
        assert await add(driver, f"{number}-a", name) is True
        assert await add(driver, f"{number}-b", name) == f"{number}-a"
        assert (await info(driver, f"{number}-a")).unique == name


async def test_duplicates_within_a_batch(driver: Driver) -> None:
    one, two = Unique("one"), Unique("two", 60)
    batch = [
        NewJob("a", b"", 0, one),
        NewJob("b", b"", 60, one),
        NewJob("c", b""),
        NewJob("d", b"", 60, two),
        NewJob("e", b"", 0, two),
        NewJob("a", b"", 0, one),
    ]
    assert await driver.enqueue(Q, batch) == [True, "a", True, True, "d", False]
    assert await refused_total(driver) == 2
    assert (await driver.stats([Q]))[Q].enqueued_total == 3


async def test_a_job_that_others_follow_holds_its_name_too(driver: Driver) -> None:
    link = chained((Q, "b"), (Q, "c")).job._replace(unique=Unique(NAME))
    jobs = [NewJob("a", b"", 0, Unique("first", 60)), link, link._replace(id="d")]
    assert await driver.enqueue(Q, jobs) == [True, True, "b"]
    assert await driver.enqueue(Q, [link, link._replace(id="e")]) == [False, "b"]
    assert await refused_total(driver) == 2
    assert await add(driver, "f") == "b"
    assert await add(driver, "g", "first") == "a"
    assert (await info(driver, "b")).unique == NAME
    assert await drain(driver) == ["a", "b", "c"]
    assert await add(driver, "f") is True
    assert await add(driver, "g", "first") == "a"


@pytest.mark.parametrize("verb", ["cancel", "purge", "fail", "prune", "forget"])
async def test_a_chained_job_that_is_removed_gives_its_name_up(driver: Driver, verb: str) -> None:
    member = Member(Q, "batch-1", "member")
    link = chained((Q, "a"), (Q, "b")).job._replace(unique=Unique(NAME))
    assert await driver.enqueue_batch(Q, NewBatch("batch-1", [chained((Q, "m"), member=member)]))
    assert await driver.enqueue(Q, [link]) == [True]
    if verb == "cancel":
        assert await driver.cancel(Q, "a") is State.READY
    elif verb == "purge":
        assert await driver.purge(Q) == 2
    else:
        _, held = await reserve(driver, 2)
        assert await settle(driver, fail(held)) == []
    if verb == "prune":
        await until(lambda: driver.prune(Q, 0.0))
    if verb == "forget":
        assert await driver.forget(Q, ["a"]) == [True]
    assert await driver.find("b", Q) is None
    assert await add(driver, "c") is True


async def test_a_full_batch(driver: Driver) -> None:
    some = names(MAX_BATCH)
    batch = [NewJob(name, b"x", 0, Unique(f"job {name}")) for name in some]
    again = [job._replace(id=f"again-{job.id}") for job in batch]
    assert await driver.enqueue(Q, batch) == [True] * MAX_BATCH
    assert await driver.enqueue(Q, again) == some
    assert await refused_total(driver) == MAX_BATCH
    assert await drain(driver, want=MAX_BATCH) == some
    assert await driver.enqueue(Q, again) == [True] * MAX_BATCH


async def test_a_job_that_runs_holds_its_name(driver: Driver) -> None:
    await add(driver, "a")
    [held] = await reserve(driver)
    assert await add(driver, "b") == "a"
    assert await settle(driver, ack(held)) == []
    assert await add(driver, "b") is True
    assert await drain(driver) == ["b"]


async def test_a_scheduled_job_holds_its_name(driver: Driver) -> None:
    assert await add(driver, "a", delay=60) is True
    assert await add(driver, "b") == "a"


async def test_a_job_that_is_retried_or_released_or_reclaimed_holds_its_name(
    driver: Driver,
) -> None:
    await add(driver, "a")
    for step in (retry, release, lambda job: retry(job, delay=0.001)):
        [held] = await reserve_when_ready(driver)
        assert await settle(driver, step(held)) == []
        assert await add(driver, "b") == "a"
    [held] = await reserve_when_ready(driver)
    [taken] = await driver.retire(Q, ME)
    assert await settle(driver, release(taken, Charge.LOST)) == []
    assert await add(driver, "b") == "a"
    [held] = await reserve(driver, owner=OTHER)
    assert await settle(driver, ack(held), owner=OTHER) == []
    assert await add(driver, "b") is True


async def test_a_stale_settlement_gives_nothing_up(driver: Driver) -> None:
    await add(driver, "a")
    [first] = await reserve(driver)
    await settle(driver, retry(first))
    [second] = await reserve(driver)
    assert await settle(driver, ack(first)) == ["a"]
    assert await settle(driver, fail(first)) == ["a"]
    assert await add(driver, "b") == "a"
    assert await settle(driver, ack(second)) == []


async def test_a_job_that_failed_for_good_holds_nothing(driver: Driver) -> None:
    await add(driver, "a")
    [held] = await reserve(driver)
    await settle(driver, fail(held))
    assert (await info(driver, "a")).unique == NAME  # its name is still known
    assert await add(driver, "b") is True
    assert await add(driver, "c") == "b"


async def test_a_failed_job_takes_its_name_again_when_it_is_requeued(driver: Driver) -> None:
    await add(driver, "a")
    [held] = await reserve(driver)
    await settle(driver, fail(held))
    assert await driver.requeue(Q, ["a"]) == [True]
    assert await add(driver, "b") == "a"
    assert await drain(driver) == ["a"]
    assert await add(driver, "b") is True


async def test_a_failed_job_stays_failed_while_another_holds_its_name(driver: Driver) -> None:
    await add(driver, "a")
    [held] = await reserve(driver)
    await settle(driver, fail(held))
    await add(driver, "b")
    await push(driver, "plain")
    assert await driver.requeue(Q, ["a", "unknown"]) == [False, False]
    assert (await info(driver, "a")).state is State.FAILED
    assert [one.id for one in await driver.failed(Q)] == ["a"]
    assert await drain(driver) == ["b", "plain"]
    assert await driver.requeue(Q, ["a"]) == [True]
    assert await add(driver, "c") == "a"


async def test_of_failed_jobs_of_one_name_the_first_is_requeued(driver: Driver) -> None:
    for job_id in ("a", "b"):
        await add(driver, job_id)
        [held] = await reserve(driver)
        await settle(driver, fail(held))
    assert await driver.requeue(Q, ["b", "a", "b"]) in ([True, False, True], [True, False, False])
    assert await add(driver, "c") == "b"
    stats = (await driver.stats([Q]))[Q]
    assert (stats.ready, stats.failed) == (1, 1)


async def test_forgetting_a_failed_job_leaves_the_name_to_who_holds_it(driver: Driver) -> None:
    await add(driver, "a")
    [held] = await reserve(driver)
    await settle(driver, fail(held))
    await add(driver, "b")
    assert await driver.forget(Q, ["a"]) == [True]
    assert await add(driver, "c") == "b"


async def cancel(driver: Driver) -> None:
    assert await driver.cancel(Q, "a") in {State.READY, State.SCHEDULED}


async def purge(driver: Driver) -> None:
    assert await driver.purge(Q) == 1


@pytest.mark.parametrize("remove", [cancel, purge])
@pytest.mark.parametrize("delay", [0.0, 60.0])
async def test_a_job_that_is_removed_gives_its_name_up(
    driver: Driver, remove: Callable[[Driver], Awaitable[None]], delay: float
) -> None:
    await add(driver, "a", delay=delay)
    await remove(driver)
    assert await add(driver, "b") is True
    assert await add(driver, "c") == "b"


async def test_a_job_that_runs_cannot_be_cancelled_and_holds_on(driver: Driver) -> None:
    await add(driver, "a")
    [held] = await reserve(driver)
    assert await driver.cancel(Q, "a") is State.RESERVED
    assert await driver.purge(Q) == 0
    assert await add(driver, "b") == "a"
    await settle(driver, ack(held))


async def test_for_a_time_outlasts_the_job_however_it_ends(driver: Driver) -> None:
    ends = [ack, fail]
    for number, end in enumerate(ends):
        name = f"{NAME} {number}"
        assert await add(driver, f"a{number}", name, seconds=60) is True
        [held] = await reserve(driver)
        await settle(driver, end(held))
        assert await add(driver, f"b{number}", name, seconds=60) == f"a{number}"
        assert await add(driver, f"c{number}", name) == f"a{number}"
    await add(driver, "x", "x", seconds=60)
    await driver.cancel(Q, "x")
    assert await add(driver, "y", "x", seconds=60) == "x"


async def test_for_a_time_ends_by_the_clock_of_the_back_end(driver: Driver) -> None:
    assert await add(driver, "a", seconds=0.05, delay=60) is True

    async def taken() -> bool:
        return await add(driver, "b", seconds=60) is True

    await until(taken)
    assert await add(driver, "c", seconds=60) == "b"
    assert (await driver.stats([Q]))[Q].size == 2  # the time says when the next may come, no more


async def test_a_job_whose_time_ran_out_does_not_end_what_its_successor_holds(
    driver: Driver,
) -> None:
    await add(driver, "a", seconds=0.01)
    [held] = await reserve(driver)

    async def taken() -> bool:
        return await add(driver, "b") is True

    await until(taken)
    await settle(driver, ack(held))
    assert await add(driver, "c") == "b"


async def test_a_failed_job_of_a_time_is_requeued_whoever_holds_the_name(driver: Driver) -> None:
    await add(driver, "a", seconds=60)
    [held] = await reserve(driver)
    await settle(driver, fail(held))
    assert await driver.requeue(Q, ["a"]) == [True]
    assert await drain(driver) == ["a"]


async def test_a_second_answer_for_a_job_that_is_done_within_its_time(driver: Driver) -> None:
    """A client that asks again after the job has run must not have it run once more."""
    await add(driver, "a", seconds=60)
    assert await drain(driver) == ["a"]
    assert await add(driver, "a", seconds=60) == "a"
    assert await drain(driver) == []


async def test_a_name_is_seen_where_the_job_is_looked_up(driver: Driver) -> None:
    await push(driver, "plain")
    await add(driver, "a", delay=60)
    assert (await info(driver, "plain")).unique is None
    assert (await info(driver, "a")).unique == NAME


async def test_of_many_that_push_one_name_at_once_one_wins(make_driver: MakeDriver) -> None:
    clients = [await make_driver() for _ in range(4)]
    for round_ in range(20):
        pushes = [add(client, f"{round_}-{n}") for n, client in enumerate(clients)]
        answers = await asyncio.gather(*pushes)
        [winner] = [f"{round_}-{n}" for n, answer in enumerate(answers) if answer is True]
        assert sorted(map(str, answers)) == sorted([*[winner] * 3, "True"])
        assert await drain(clients[0]) == [winner]
