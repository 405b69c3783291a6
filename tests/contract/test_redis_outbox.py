"""The outbox of the Redis driver: three steps, of which any may be the last or come again, late."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from queued.drivers.base import ID_PATTERN, State
from queued.drivers.redis import RedisDriver
from queued.drivers.redis.codec import pack_id
from queued.drivers.redis.commands import Command, Commands
from queued.drivers.redis.outbox import AT_ONCE, Outbox
from queued.drivers.redis.scripts import scripts
from queued.drivers.sequel import KEEP_BATCH, fields, pack
from queued.errors import DriverError
from tests.contract.chains import HOME, OTHER_Q, batch_of, chained
from tests.contract.redis_steps import (
    driver_of_server,  # noqa: F401 - a fixture
    fresh_server,  # noqa: F401 - a fixture
    opened,
    operator_client,  # noqa: F401 - a fixture
)
from tests.contract.servers import Server
from tests.contract.steps import Q, ack, drain, fail, names, reserve, settle, size


def outbox_of(driver: RedisDriver) -> Outbox:
    return driver._outbox


async def link_in_the_outbox(driver: RedisDriver, first: str = "a", second: str = "b") -> None:
    await driver.enqueue(Q, [chained((Q, first), (OTHER_Q, second)).job])
    assert await drain(driver) == [first]


async def test_a_copy_that_is_late_brings_nothing_after_its_job_has_run(
    driver: RedisDriver,
) -> None:
    """One forwarder is stopped between reading and delivering; meanwhile all is done and gone."""
    await link_in_the_outbox(driver)
    outbox = outbox_of(driver)
    slow = await outbox.read(Q)
    assert await driver.forward(Q) == 1
    assert await drain(driver, queue=OTHER_Q) == ["b"]
    await link_in_the_outbox(driver, "c", "d")
    assert await driver.forward(Q) == 1

    await outbox.deliver(Q, OTHER_Q, slow)
    await outbox.remove(Q, slow)
    assert await drain(driver, queue=OTHER_Q) == ["d"]


async def test_a_forwarder_that_dies_after_delivering_leaves_no_second_run(
    driver: RedisDriver, server: Server
) -> None:
    await link_in_the_outbox(driver)
    outbox = outbox_of(driver)
    await outbox.deliver(Q, OTHER_Q, await outbox.read(Q))  # and is gone
    assert await drain(driver, queue=OTHER_Q) == ["b"]
    async with opened(server.url) as janitor:
        assert await janitor.forward(Q) == 1
        assert await janitor.forward(Q) == 0
    assert await size(driver, OTHER_Q) == 0


async def test_a_verb_that_has_done_its_part_says_so_though_nothing_can_be_forwarded(
    driver: RedisDriver, admin: redis.Redis
) -> None:
    """Or who dispatches would take a batch for refused whose jobs run."""
    admin.set(f"queued:{{{OTHER_Q}}}:received", "of somebody else")
    assert await driver.enqueue_batch(HOME, batch_of((Q, "a"), (OTHER_Q, "b")))
    assert await driver.cancel(Q, "a") is State.READY
    with pytest.raises(DriverError, match="WRONGTYPE"):
        await driver.forward(HOME)
    admin.delete(f"queued:{{{OTHER_Q}}}:received")
    assert await driver.forward(HOME) == 1
    assert await driver.purge(OTHER_Q) == 1
    found = await driver.batch("batch-1")
    assert found
    assert (found.pending, found.cancelled) == (0, 2)


async def test_a_forwarder_that_dies_between_two_targets_is_finished_by_another(
    driver: RedisDriver,
) -> None:
    await driver.enqueue(Q, [chained((Q, "a"), (OTHER_Q, "b")).job])
    await driver.enqueue(Q, [chained((Q, "c"), (HOME, "d")).job])
    await driver.enqueue(Q, [chained((Q, "e"), (OTHER_Q, "f")).job])
    await drain(driver, want=1)
    outbox = outbox_of(driver)
    messages = await outbox.read(Q)
    assert [message.target for message in messages] == [OTHER_Q, HOME, OTHER_Q]
    await outbox.deliver(Q, OTHER_Q, messages[:1])
    await driver.forward(Q)
    assert await drain(driver, queue=OTHER_Q) == ["b", "f"]
    assert await drain(driver, queue=HOME) == ["d"]


async def test_a_full_memory_does_not_hold_up_what_is_under_way(
    driver: RedisDriver, admin: redis.Redis
) -> None:
    """Or it would stay full: what could be freed is the outbox, and what comes of it."""
    await link_in_the_outbox(driver)
    await driver.forward(Q)  # from now on the target's name is known
    for number in range(AT_ONCE + 1):
        await driver.enqueue(Q, [chained((Q, f"a{number}"), (OTHER_Q, f"b{number}")).job])
    await drain(driver)
    admin.config_set("maxmemory", 1)
    assert await driver.forward(Q) == AT_ONCE + 1
    assert (await driver.stats([Q]))[Q].outbox == 0
    assert len(await drain(driver, queue=OTHER_Q)) == 1 + AT_ONCE + 1


async def test_a_target_that_refuses_holds_up_nobody_else(
    driver: RedisDriver, admin: redis.Redis
) -> None:
    """Somebody's key stands where the target's jobs should be."""
    admin.set(f"queued:{{{OTHER_Q}}}:jobs", "mine")
    for number in range(AT_ONCE + 1):
        await driver.enqueue(Q, [chained((Q, f"a{number}"), (OTHER_Q, f"b{number}")).job])
    await driver.enqueue(Q, [chained((Q, "c"), (HOME, "d")).job])
    await drain(driver)
    with pytest.raises(DriverError, match="WRONGTYPE"):
        await driver.forward(Q)
    assert await drain(driver, queue=HOME) == ["d"]
    admin.delete(f"queued:{{{OTHER_Q}}}:jobs")
    assert await driver.forward(Q) == AT_ONCE + 1
    assert await drain(driver, queue=OTHER_Q) == [f"b{number}" for number in range(AT_ONCE + 1)]


async def test_many_who_forward_at_once_bring_each_message_once(server: Server) -> None:
    async with opened(server.url) as first, opened(server.url) as second:
        links = names(2 * AT_ONCE + 7)
        for name in links:
            await first.enqueue(Q, [chained((Q, f"{name}.1"), (OTHER_Q, name)).job])
        await drain(first)
        done: list[str] = []

        async def run() -> None:
            done.extend(await drain(second, queue=OTHER_Q, want=10))

        forwarding = [driver.forward(Q) for driver in (first, second, first, second)]
        await asyncio.gather(*forwarding, run(), run())
        await run()
        assert sorted(done) == links
        assert (await first.stats([OTHER_Q]))[OTHER_Q].enqueued_total == len(links)


async def test_a_members_end_that_is_told_twice_counts_once(driver: RedisDriver) -> None:
    await driver.enqueue_batch(HOME, batch_of((Q, "a"), (Q, "b")))
    outbox = outbox_of(driver)
    [held, other] = await reserve(driver, 2)
    await settle(driver, fail(held))
    failed = await outbox.read(Q)
    await outbox.deliver(Q, HOME, failed)
    await outbox.deliver(Q, HOME, failed)
    await driver.requeue(Q, ["a"])
    [held] = await reserve(driver)
    await settle(driver, ack(held), ack(other))
    await driver.forward(Q)
    await outbox.deliver(Q, HOME, failed)
    found = await driver.batch("batch-1")
    assert found is not None
    assert (found.done, found.failed) == (2, 0)
    assert await drain(driver, queue=HOME) == ["catch", "then", "finally"]


async def test_all_keys_are_under_the_tag_of_their_queue_and_go_when_all_is_over(
    driver: RedisDriver, admin: redis.Redis
) -> None:
    await driver.enqueue_batch(HOME, batch_of((Q, "a"), (OTHER_Q, "b")))
    tags = ("{billing}", "{emails}", "{reports}")
    keys = [key.decode() for key in admin.scan_iter("*")]
    assert {key for key in keys if not any(tag in key for tag in tags)} == {"queued:queues"}
    for queue in (Q, OTHER_Q, HOME):
        await drain(driver, queue=queue)
        await driver.forward(queue)
    await drain(driver, queue=HOME)
    left = {key.decode().rpartition("}:")[2] for key in admin.scan_iter("queued:{*")}
    usual = {"owners", "nonces", "fence", "counters", "wake"}
    assert left - usual == {"outbox", "received", "batch:batch-1"}
    assert admin.xlen("queued:{emails}:outbox") == 0
    assert 0 < admin.ttl("queued:{billing}:batch:batch-1") <= KEEP_BATCH


def test_the_scripts_keep_batches_as_long_as_the_other_drivers() -> None:
    assert f"local KEEP_BATCH = {KEEP_BATCH} " in scripts()["ack"].text


@given(st.lists(st.binary(max_size=300), max_size=8))
def test_fields_come_back_as_they_were(given: list[bytes]) -> None:
    assert fields(pack(*given)) == given


_LIKE_A_UUID = r"[0-9a-f][0-9a-gA-F-]{7}-[0-9a-g]{4}-[0-9a-f.]{4}-[0-9a-f-]{4}-[0-9a-gA-F-]{12}"


@pytest.fixture
def stored_ids(admin: redis.Redis) -> Callable[[Sequence[str]], list[bytes]]:
    """Return how the scripts store ids: those of jobs that a post enqueued."""

    def stored(ids: Sequence[str]) -> list[bytes]:
        admin.flushall()
        admin.script_load(scripts()["post"].text)
        command: Command = Commands("queued").verb(
            "post",
            Q,
            *(v for one in ids for v in (pack(Q.encode(), one.encode(), b"", b"0", b""), "", 0)),
        )
        admin.execute_command(*command)
        return sorted(admin.hkeys(f"queued:{{{Q}}}:jobs"))

    return stored


def test_the_scripts_store_ids_as_the_driver_does(
    stored_ids: Callable[[Sequence[str]], list[bytes]],
) -> None:
    @given(
        st.lists(
            st.one_of(
                st.uuids().map(str),
                st.from_regex(ID_PATTERN, fullmatch=True),
                st.from_regex(_LIKE_A_UUID, fullmatch=True),
            ),
            min_size=1,
            max_size=20,
            unique=True,
        )
    )
    def check(ids: list[str]) -> None:
        assert stored_ids(ids) == sorted(map(pack_id, ids))

    check()
