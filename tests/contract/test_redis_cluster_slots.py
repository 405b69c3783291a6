"""redis+cluster://: slots that move from node to node while jobs are in them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import redis

from queued.drivers.redis import RedisDriver
from queued.drivers.redis.blocking import BlockingRedis
from queued.errors import DriverUnavailable
from tests.contract.chains import OTHER_Q, chained
from tests.contract.cluster import Cluster
from tests.contract.cluster_steps import (
    blocking_enqueuer,  # noqa: F401 - a fixture
    driver_of_cluster,  # noqa: F401 - a fixture
    job,
    kind_of_server,  # noqa: F401 - a fixture
    queue_of_each_node,  # noqa: F401 - a fixture
    running_cluster,  # noqa: F401 - a fixture
    waits,
    whole_cluster,  # noqa: F401 - a fixture
)
from tests.contract.redis_steps import opened
from tests.contract.steps import (
    ME,
    WITHIN,
    Q,
    ack,
    drain,
    hold,
    ids,
    listen,
    names,
    push,
    reserve,
    settle,
    until,
)
from tests.contract.test_unreachable import VERBS


async def test_a_queue_that_was_moved_is_followed(
    cluster: Cluster, queues: list[str], driver: RedisDriver, enqueuer: BlockingRedis
) -> None:
    queue, other = queues[0], cluster.nodes[1]
    held = await hold(driver, "held", queue=queue)
    enqueuer.enqueue(queue, job("a"))
    await push(driver, "b", queue=queue)
    cluster.migrate(queue, other)
    assert cluster.owner(queue) is other
    assert await settle(driver, ack(held), queue=queue) == []
    assert enqueuer.enqueue(queue, job("c")) == [True]
    async with opened(cluster.url) as fresh:
        assert await drain(fresh, queue=queue) == ["a", "b", "c"]


async def test_a_worker_that_waits_is_led_to_where_its_queue_has_gone(
    cluster: Cluster, queues: list[str], driver: RedisDriver
) -> None:
    queue, other = queues[0], cluster.nodes[1]
    await push(driver, "a", queue=queue)
    await drain(driver, queue=queue)
    got: list[str] = []

    async def work() -> None:
        while got != ["b"]:
            got.extend(ids(await listen(driver, 60, queue=queue)))

    working = asyncio.create_task(work())
    await until(lambda: waits(cluster, cluster.nodes[0]))
    await asyncio.to_thread(cluster.migrate, queue, other)
    await push(driver, "b", queue=queue)
    async with asyncio.timeout(WITHIN):
        await working


async def test_while_a_slot_is_on_the_move_calls_wait_within_their_bound(
    cluster: Cluster, queues: list[str], driver: RedisDriver
) -> None:
    """Half of a queue's keys are here and half there: no script can run at either."""
    queue, target = queues[0], cluster.nodes[1]
    source = cluster.owner(queue)
    await push(driver, "a", queue=queue)
    cluster.begin(queue, target)
    address = ("127.0.0.1", target.port, "", 0, 5000, *cluster.auth, "KEYS")
    cluster.ask(source, "MIGRATE", *address, f"queued:{{{queue}}}:jobs")
    within, driver._main.within = driver._main.within, 0.3
    caught = await refusal(lambda: driver.enqueue(queue, job("b")))
    assert caught is not None
    assert "moving the queue" in str(caught)
    assert caught.ids == ("b",)
    driver._main.within = within
    pushing = asyncio.create_task(push(driver, "b", queue=queue))
    taking = asyncio.create_task(listen(driver, 60, queue=queue))
    await asyncio.sleep(0)
    await asyncio.to_thread(cluster.migrate, queue, target)
    await pushing
    got = ids(await taking)
    assert got + await drain(driver, queue=queue, owner="another") == ["a", "b"]


async def test_a_wait_that_is_led_elsewhere_is_over(
    cluster: Cluster, queues: list[str], driver: RedisDriver
) -> None:
    """It would wait there for its whole time, with jobs that were reserved by what follows it."""
    queue, target = queues[0], cluster.nodes[1]
    source = cluster.owner(queue)
    await push(driver, "a", queue=queue)
    cluster.ask(source, "DEL", f"queued:{{{queue}}}:wake")
    cluster.begin(queue, target)
    before = cluster.refusals(source)
    taking = asyncio.create_task(listen(driver, 3600, queue=queue))

    async def was_led_elsewhere() -> bool:
        return cluster.refusals(source) > before

    await until(was_led_elsewhere)
    cluster.migrate(queue, target)
    async with asyncio.timeout(WITHIN):
        assert ids(await taking) == ["a"]


@pytest.mark.parametrize("moved", [(), ("jobs",), ("jobs", "counters", "received")])
async def test_no_script_runs_on_half_a_queue(
    cluster: Cluster, driver: RedisDriver, moved: tuple[str, ...]
) -> None:
    """One that did would be stopped in its midst, by the first key that is elsewhere."""
    source = cluster.owner(Q)
    target = next(node for node in cluster.nodes if node is not source)
    await hold(driver, "a")
    await driver.enqueue(OTHER_Q, [chained((OTHER_Q, "before"), (Q, "b")).job])
    await drain(driver, queue=OTHER_Q)
    await driver.forward(OTHER_Q)
    await driver.enqueue(OTHER_Q, [chained((OTHER_Q, "after"), (Q, "c")).job])
    await drain(driver, queue=OTHER_Q)
    cluster.begin(Q, target)
    address = ("127.0.0.1", target.port, "", 0, 5000, *cluster.auth, "KEYS")
    for name in moved:
        cluster.ask(source, "MIGRATE", *address, f"queued:{{{Q}}}:{name}")
    before = dumps(cluster)
    within = driver._main.within
    driver._main.within = driver._waiter.within = 0.05
    tried = 0
    for name, verb in VERBS.items():
        if name not in {"find", "batch", "held", "queues", "ping"}:
            error = await refusal(lambda verb=verb: verb(driver))
            if error is not None:
                assert "moving the queue" in str(error), name
                tried += 1
    assert "moving the queue" in str(await refusal(lambda: driver.forward(OTHER_Q)))
    assert tried > len(VERBS) / 2
    assert dumps(cluster) == before
    driver._main.within = within
    cluster.migrate(Q, target)
    assert await driver.forward(OTHER_Q) == 1
    assert await drain(driver) == ["b", "c"]


async def refusal(call: Callable[[], Awaitable[object]]) -> DriverUnavailable | None:
    """Return why a call failed; None: it did not.

    A short bound of a call is also that of each node's answer, which one that has no processor just
    then exceeds: that says nothing of the slot, and the call is made again.
    """
    async with asyncio.timeout(WITHIN):
        while True:
            try:
                await call()
            except DriverUnavailable as error:
                if "did not answer" not in str(error):
                    return error
            else:
                return None


def dumps(cluster: Cluster) -> dict[bytes, bytes]:
    """Return every key of the queue, wherever it is, with what it holds."""
    found = {}
    for node in cluster.nodes:
        for key in cluster.ask(node, "KEYS", f"queued:{{{Q}}}:*"):
            value = cluster.dump(node, key)
            if value is not None and not key.endswith(b":wake"):  # a waiting worker takes it
                found[key] = value
    return found


async def test_a_command_of_one_key_is_asked_for_at_the_target(
    cluster: Cluster, queues: list[str], driver: RedisDriver
) -> None:
    queue, target = queues[0], cluster.nodes[1]
    held = await hold(driver, "a", queue=queue)
    cluster.begin(queue, target)
    address = ("127.0.0.1", target.port, "", 0, 5000, *cluster.auth, "KEYS")
    cluster.ask(cluster.owner(queue), "MIGRATE", *address, f"queued:{{{queue}}}:held:{ME}")
    assert await driver.held(queue, ME) == {"a": held.fence}
    cluster.migrate(queue, target)
    assert await driver.held(queue, ME) == {"a": held.fence}


async def test_a_queue_moves_while_jobs_flow(
    cluster: Cluster, queues: list[str], driver: RedisDriver
) -> None:
    queue = queues[0]
    wanted, done = names(400), list[str]()

    async def produce() -> None:
        for at in range(0, len(wanted), 4):
            await push(driver, *wanted[at : at + 4], queue=queue)

    async def consume(worker: RedisDriver, owner: str) -> None:
        while len(done) < len(wanted):
            jobs = await listen(worker, 0.5, want=5, queue=queue, owner=owner)
            assert await settle(worker, *map(ack, jobs), queue=queue, owner=owner) == []
            done.extend(ids(jobs))

    async def move() -> None:
        for node in [*cluster.nodes[1:], cluster.nodes[0]] * 2:
            await asyncio.to_thread(cluster.migrate, queue, node)

    async with (
        opened(cluster.url) as one,
        opened(cluster.url) as other,
        asyncio.timeout(6 * WITHIN),
        asyncio.TaskGroup() as group,
    ):
        for part in (produce(), consume(one, "one"), consume(other, "other"), move()):
            group.create_task(part)
    assert sorted(done) == wanted
    stats = (await driver.stats([queue]))[queue]
    assert (stats.ready, stats.reserved, stats.enqueued_total) == (0, 0, len(wanted))


async def test_slots_that_valkey_moves_by_itself(
    kind: str, cluster: Cluster, queues: list[str], driver: RedisDriver
) -> None:
    """Atomic slot migration, of Valkey 9: clients see one MOVED and nothing else."""
    if kind != "valkey":
        with pytest.raises(redis.ResponseError):
            cluster.migrate_atomically(queues[0], cluster.nodes[1])
        return
    queue, target = queues[0], cluster.nodes[1]
    await push(driver, "a", "b", queue=queue)
    held, _ = await reserve(driver, 2, queue=queue)
    await asyncio.to_thread(cluster.migrate_atomically, queue, target)
    assert cluster.owner(queue) is target
    assert await settle(driver, ack(held), queue=queue) == []
    assert (await driver.stats([queue]))[queue].reserved == 1
