"""redis+cluster://: each queue at the node of its slot, whatever becomes of slots and nodes.

The suite as a whole runs over a cluster too; here is what only a cluster has.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest
import redis

from queued.drivers.base import NewJob
from queued.drivers.redis import RedisDriver
from queued.drivers.redis.blocking import BlockingRedis
from queued.errors import DriverError, DriverUnavailable, QueueUnavailable
from tests.contract.chains import OTHER_Q, chained
from tests.contract.cluster import Cluster, clustered
from tests.contract.redis_steps import SERVERS, opened, start
from tests.contract.servers import Server, free_port, running
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
    size,
    until,
)
from tests.contract.test_unreachable import VERBS


@pytest.fixture(scope="module", params=SERVERS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def shared(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp(kind)
    with clustered(partial(start, kind), folder, "--appendonly", "yes", password="s3cret") as made:
        yield made


@pytest.fixture
def cluster(shared: Cluster) -> Cluster:
    """Three primaries, whole and empty; who owns what may have changed."""
    for node in shared.nodes:
        if not node.answers():
            node.start()
    shared.settle()
    shared.flush()
    for node in shared.nodes:
        shared.ask(node, "SCRIPT", "FLUSH")
    return shared


@pytest.fixture
def queues(cluster: Cluster) -> list[str]:
    """A queue for each node, in their order."""
    return [cluster.queue_on(node) for node in cluster.nodes]


@pytest.fixture
async def driver(cluster: Cluster) -> AsyncIterator[RedisDriver]:
    async with opened(cluster.url) as driver:
        yield driver


@pytest.fixture
def enqueuer(cluster: Cluster) -> Iterator[BlockingRedis]:
    made = BlockingRedis(cluster.url)
    yield made
    made.close()


def job(name: str) -> list[NewJob]:
    return [NewJob(name, name.encode())]


def keys(cluster: Cluster, node: Server) -> set[str]:
    return {key.decode() for key in cluster.ask(node, "KEYS", "*")}


async def test_each_queue_is_at_its_node_and_calls_over_all_of_them_find_it(
    cluster: Cluster, queues: list[str], driver: RedisDriver
) -> None:
    for queue in queues:
        await push(driver, f"{queue}-a", f"{queue}-b", queue=queue)
    for queue, node in zip(queues, cluster.nodes, strict=True):
        assert f"queued:{{{queue}}}:jobs" in keys(cluster, node)
    stats = await driver.stats(queues)
    assert {queue: one.ready for queue, one in stats.items()} == dict.fromkeys(queues, 2)
    assert await driver.queues() == sorted(queues)
    for queue in queues:
        found = await driver.find(f"{queue}-b")
        assert found
        assert found.queue == queue
    assert await driver.find("unknown") is None
    assert await driver.batch("unknown") is None
    await driver.ping()
    for queue in queues:
        assert await drain(driver, queue=queue) == [f"{queue}-a", f"{queue}-b"]


async def test_the_name_of_a_queue_comes_before_its_first_job(
    cluster: Cluster, queues: list[str], driver: RedisDriver, enqueuer: BlockingRedis
) -> None:
    """A name without jobs is harmless, jobs without a name are found by nobody."""
    home = cluster.owner_of_key("queued:queues")
    elsewhere = [queue for queue in queues if cluster.owner(queue) is not home]
    known, unknown = elsewhere
    await push(driver, "a", queue=known)
    enqueuer.enqueue(known, job("b"))
    home.kill()
    with pytest.raises(DriverUnavailable, match=str(home.port)) as caught:
        await driver.enqueue(unknown, job("x"))
    assert caught.value.ids == ("x",)
    with pytest.raises(DriverUnavailable, match=str(home.port)):
        enqueuer.enqueue(unknown, job("x"))
    assert keys(cluster, cluster.owner(unknown)) == set()

    await push(driver, "c", queue=known)
    assert enqueuer.enqueue(known, job("d")) == [True]
    assert await drain(driver, queue=known) == ["a", "b", "c", "d"]


@pytest.mark.fault(25)
async def test_who_has_queues_at_other_nodes_is_not_held_up_by_one_that_is_gone(
    cluster: Cluster, queues: list[str], driver: RedisDriver, enqueuer: BlockingRedis
) -> None:
    for queue in queues:
        await push(driver, queue, queue=queue)
        enqueuer.enqueue(queue, job(f"{queue}-b"))
    assert await driver.queues() == sorted(queues)
    home = cluster.owner_of_key("queued:queues")
    lost = next(queue for queue in queues if cluster.owner(queue) is not home)
    there = [queue for queue in queues if queue != lost]
    node = cluster.owner(lost)
    node.kill()
    for call in (
        push(driver, "x", queue=lost),
        reserve(driver, queue=lost),
        listen(driver, 1, queue=lost),
        driver.stats([lost]),
        driver.find("unknown"),
        driver.find("unknown", lost),
        driver.batch("unknown"),
    ):
        with pytest.raises(DriverUnavailable, match=f"127.0.0.1:{node.port}"):
            await call
    with pytest.raises(QueueUnavailable):
        await driver.renew(lost, [ME], 30)
    with pytest.raises(DriverUnavailable, match=f"127.0.0.1:{node.port}"):
        enqueuer.enqueue(lost, job("y"))
    assert (await driver.stats(queues)).keys() == set(there)
    for queue in there:
        assert (await driver.find(queue)).queue == queue  # type: ignore[union-attr]
        assert enqueuer.enqueue(queue, job(f"{queue}-c")) == [True]
        assert await drain(driver, queue=queue) == [queue, f"{queue}-b", f"{queue}-c"]

    node.start()
    cluster.settle()
    assert await drain(driver, queue=lost) == [lost, f"{lost}-b"]
    assert enqueuer.enqueue(lost, job("z")) == [True]
    assert (await driver.stats(queues)).keys() == set(queues)


async def test_what_goes_from_queue_to_queue_waits_for_the_node_of_its_target(
    cluster: Cluster, queues: list[str], driver: RedisDriver
) -> None:
    home = cluster.owner_of_key("queued:queues")
    target = next(queue for queue in queues if cluster.owner(queue) is not home)
    first, second = (queue for queue in queues if queue != target)
    await push(driver, "t", queue=target)
    await push(driver, "s", queue=second)
    await drain(driver, queue=target)
    await drain(driver, queue=second)
    await driver.enqueue(first, [chained((first, "a"), (target, "b")).job])
    await driver.enqueue(first, [chained((first, "c"), (second, "d")).job])
    node = cluster.owner(target)
    node.kill()
    assert await drain(driver, queue=first) == ["a", "c"]
    with pytest.raises(DriverUnavailable):
        await driver.forward(first)
    assert await drain(driver, queue=second) == ["d"]
    node.start()
    cluster.settle()
    assert await driver.forward(first) == 1
    assert await drain(driver, queue=target) == ["b"]


# slots that move


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


async def waits(cluster: Cluster, node: Server) -> bool:
    info = cluster.ask(node, "INFO", "clients")
    text = info if isinstance(info, dict) else info.decode()
    if isinstance(text, dict):
        return bool(text["blocked_clients"])
    return "blocked_clients:0" not in text


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
    with pytest.raises(DriverUnavailable, match="moving the queue") as caught:
        await driver.enqueue(queue, job("b"))
    assert caught.value.ids == ("b",)
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
            try:
                await verb(driver)
            except DriverUnavailable as error:
                assert "moving the queue" in str(error), name  # noqa: PT017
                tried += 1
    with pytest.raises(DriverUnavailable, match="moving the queue"):
        await driver.forward(OTHER_Q)
    assert tried > len(VERBS) / 2
    assert dumps(cluster) == before
    driver._main.within = within
    cluster.migrate(Q, target)
    assert await driver.forward(OTHER_Q) == 1
    assert await drain(driver) == ["b", "c"]


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


async def test_a_node_that_falls_silent_is_left_for_its_replica(kind: str, tmp_path: Path) -> None:
    """As when its host loses power: nobody says that the connection is over."""
    with clustered(partial(start, kind), tmp_path, replicas=1) as cluster:
        node, replica = cluster.nodes[0], cluster.nodes[3]
        queue = cluster.queue_on(node)
        async with opened(cluster.url) as driver:
            await push(driver, "a", queue=queue)
            await until(lambda: has_all(cluster, replica))
            driver._main.within = driver._waiter.within = 3600
            other = cluster.queue_on(node, "other")
            call = driver.listen(other, ME, seconds=60, want=1, nonce=1)
            waiting = asyncio.create_task(call)
            await until(lambda: waits(cluster, node))
            node.pause()
            try:
                taking = asyncio.create_task(reserve(driver, queue=queue))
                for one in (taking, waiting):
                    with pytest.raises(DriverUnavailable, match="not the primary any more"):
                        await one
                assert await drain(driver, queue=queue) == ["a"]
            finally:
                node.resume()


async def has_all(cluster: Cluster, replica: Server) -> bool:
    return cluster.ask(replica, "DBSIZE") > 0


# what is wrong


async def test_nodes_of_the_url_that_are_gone_are_passed_over(cluster: Cluster) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    last = f"127.0.0.1:{cluster.nodes[2].port}"
    url = f"redis+cluster://{cluster.login}{nobody},{last}"
    async with opened(url) as driver:
        await push(driver, "a")
    enqueuer = BlockingRedis(url)
    assert enqueuer.enqueue("emails", job("b")) == [True]
    enqueuer.close()


async def test_one_node_that_stands_still_is_passed_over(
    cluster: Cluster, queues: list[str]
) -> None:
    silent, queue = cluster.nodes[0], queues[2]
    assert cluster.owner_of_key("queued:queues") is cluster.nodes[1]
    async with opened(cluster.url) as driver:
        await push(driver, "a", queue=queue)
    silent.pause()
    try:
        async with opened(cluster.url) as driver:
            assert await drain(driver, queue=queue) == ["a"]
        enqueuer = BlockingRedis(cluster.url)
        assert enqueuer.enqueue(queue, job("b")) == [True]
        enqueuer.close()
    finally:
        silent.resume()


@pytest.mark.parametrize("how", ["driver", "enqueuer"])
async def test_what_is_wrong_is_told_in_one_line_without_a_secret(
    cluster: Cluster, kind: str, tmp_path: Path, how: str
) -> None:
    async def call(url: str) -> None:
        if how == "driver":
            async with opened(url) as driver:
                await push(driver, "a")
        else:
            await asyncio.to_thread(BlockingRedis(url).enqueue, "emails", job("a"))

    nobody = f"127.0.0.1:{free_port()},127.0.0.1:{free_port()}"
    cases = {
        f"redis+cluster://:s3cret@{nobody}": f"no node of the cluster of {nobody[:15]}",
        cluster.url.replace("s3cret", "wr-ng"): "it refuses the login",
        cluster.url.replace(":s3cret@", ""): "it refuses the login",
    }
    for url, saying in cases.items():
        with pytest.raises(DriverUnavailable, match=saying) as caught:
            await call(url)
        assert "\n" not in str(caught.value)
        assert not [one for one in ("s3cret", "wr-ng") if one in str(caught.value)]
    with (
        running(start(kind, tmp_path)) as alone,
        pytest.raises(DriverError, match="not part of a cluster: use redis://"),
    ):
        await call(alone.url.replace("redis:", "redis+cluster:"))


async def test_a_user_needs_one_right_more_than_at_a_single_server(
    cluster: Cluster, queues: list[str]
) -> None:
    rights = ["~queued:*", "+@read", "+@write", "+@scripting", "+@connection", "+time"]
    for node in cluster.nodes:
        cluster.ask(node, "ACL", "SETUSER", "worker", "on", ">pass", *rights, "-@dangerous")
    url = cluster.url.replace(cluster.login, "worker:pass@")
    with pytest.raises(DriverUnavailable, match="lacks a permission"):
        await RedisDriver(url).open()
    for node in cluster.nodes:
        cluster.ask(node, "ACL", "SETUSER", "worker", "+cluster|slots")
    async with opened(url) as driver:
        for queue in queues:
            await push(driver, queue, queue=queue)
            assert await drain(driver, queue=queue) == [queue]
        assert await size(driver, queues[0]) == 0
