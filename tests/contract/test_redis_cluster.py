"""redis+cluster://: each queue at the node of its slot, whatever becomes of slots and nodes.

The suite as a whole runs over a cluster too; here is what only a cluster has.
"""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest

from queued.daemon.metrics import Metrics
from queued.daemon.monitor.janitor import Janitor
from queued.daemon.monitor.unserved import unserved
from queued.daemon.reach import Reach
from queued.drivers.base import Charge, Retry
from queued.drivers.redis import RedisDriver
from queued.drivers.redis.blocking import BlockingRedis
from queued.drivers.redis.cluster import Cluster as ClusterLinks
from queued.drivers.redis.scripts import scripts
from queued.errors import DriverError, DriverUnavailable, QueueUnavailable
from tests.contract.chains import chained
from tests.contract.cluster import Cluster, clustered, slot_of
from tests.contract.cluster_steps import (
    blocking_enqueuer,  # noqa: F401 - a fixture
    driver_of_cluster,  # noqa: F401 - a fixture
    job,
    keys,
    kind_of_server,  # noqa: F401 - a fixture
    queue_of_each_node,  # noqa: F401 - a fixture
    running_cluster,  # noqa: F401 - a fixture
    waits,
    whole_cluster,  # noqa: F401 - a fixture
)
from tests.contract.redis_steps import opened, start
from tests.contract.servers import Server, free_port, running
from tests.contract.steps import (
    ME,
    drain,
    listen,
    push,
    reserve,
    size,
    until,
)


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


async def test_a_reservation_does_not_overtake_the_settlement_sent_with_it(
    cluster: Cluster, queues: list[str], driver: RedisDriver
) -> None:
    """A node that knew one script and not the other would run them the wrong way round."""
    for queue in queues:
        await push(driver, queue, queue=queue)
        [held] = await reserve(driver, queue=queue)
        cluster.ask(cluster.owner(queue), "SCRIPT", "FLUSH")
        cluster.ask(cluster.owner(queue), "SCRIPT", "LOAD", scripts()["reserve"].text)
        answer = await driver.exchange(queue, ME, [Retry(queue, held.fence, 100.0, Charge.ERROR)])
        assert answer.next_due is not None


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
    assert (await unserved(driver, [])).keys() == set(there)
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


async def test_what_goes_from_queue_to_queue_does_not_wait_for_the_node_of_the_names(
    cluster: Cluster, queues: list[str], driver: RedisDriver
) -> None:
    home = cluster.owner_of_key("queued:queues")
    first, second = (queue for queue in queues if cluster.owner(queue) is not home)
    for link, then in (("a", "b"), ("c", "d"), ("e", "f")):
        await driver.enqueue(first, [chained((first, link), (second, then)).job])
        assert await drain(driver, queue=first) == [link]
        assert await driver.forward(first) == 1
        home.kill()
        if link == "c":
            driver._outbox._noted[second] = 0.0  # as after a minute
    assert await drain(driver, queue=second) == ["b", "d", "f"]


async def test_a_lost_host_s_jobs_come_back_although_a_node_is_away(
    cluster: Cluster, queues: list[str], driver: RedisDriver
) -> None:
    gone, whole, _ = queues
    await push(driver, "a", queue=whole)
    answer = await driver.exchange(whole, "lost-host", want=1, nonce=1, lease=0.01)
    assert len(answer.jobs) == 1
    cluster.owner(gone).kill()
    janitor = Janitor(driver, Metrics(), reap_after=0.0, second_look=0.0)
    await janitor.sample(queues)

    async def reaped() -> bool:
        with pytest.raises(QueueUnavailable):
            await janitor.reap(queues, "ours-")
        return await size(driver, whole) == 1

    await until(reaped)
    assert await drain(driver, queue=whole) == ["a"]


@pytest.mark.fault(33)
async def test_after_a_node_s_outage_owners_have_time_to_renew(
    cluster: Cluster, queues: list[str], driver: RedisDriver
) -> None:
    """The other nodes answered all the while; those who serve its queues live."""
    queue, *others = queues
    now, metrics = 0.0, Metrics()
    reach = Reach(driver.name, metrics, clock=lambda: now)
    janitor = Janitor(driver, metrics, reach=reach, reap_after=10.0, second_look=0.0)
    await push(driver, "a", queue=queue)
    answer = await driver.exchange(queue, "other-host", want=1, nonce=1, lease=1.0)
    assert len(answer.jobs) == 1
    assert await janitor.reap(queues, "ours-") == 0
    node = cluster.owner(queue)
    node.kill()
    await asyncio.sleep(1.1)
    for _ in range(20):
        now += 1.0
        await janitor.sample(others)
    with pytest.raises(QueueUnavailable):
        await janitor.reap(queues, "ours-")
    node.start()
    cluster.settle()
    assert await until(lambda: driver.held(queue, "other-host")) == {"a": 1}
    assert reach.steady >= 10.0
    assert await janitor.reap(queues, "ours-") == 0
    assert await driver.renew(queue, ["other-host"], 30.0) == []
    assert await driver.held(queue, "other-host") == {"a": 1}


async def test_a_node_that_refuses_its_queues_hides_no_others(
    cluster: Cluster, queues: list[str], driver: RedisDriver
) -> None:
    refused, *others = queues
    for queue in queues:
        await push(driver, queue, queue=queue)
    node, slot = cluster.owner(refused), slot_of(refused)
    driver._main.within = 2.0
    cluster.ask(node, "CLUSTER", "DELSLOTS", slot)
    try:
        assert sorted(await driver.stats(queues)) == sorted(others)
        for queue in others:
            found = await driver.find(queue)
            assert found
            assert found.queue == queue
        with pytest.raises(QueueUnavailable, match="its cluster is down"):
            await driver.stats([refused])
    finally:
        cluster.ask(node, "CLUSTER", "ADDSLOTS", slot)


async def test_a_look_at_a_node_that_lives_makes_no_call_ask_anew(
    cluster: Cluster, queues: list[str], driver: RedisDriver
) -> None:
    for queue in queues:
        await push(driver, queue, queue=queue)
    main = driver._main
    assert isinstance(main, ClusterLinks)
    host = main._routes.owner(("DEL", f"queued:{{{queues[0]}}}:jobs"))
    assert host
    assert not await main.owns_nothing(host)
    assert not main._routes.stale
    assert host not in main._routes._silent


async def test_jobs_that_there_was_no_time_to_send_are_not_acknowledged(
    enqueuer: BlockingRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name of the queue took all of it."""
    monkeypatch.setattr("queued.drivers.redis.cluster.CALL_WITHIN", 0.0)
    with pytest.raises(DriverUnavailable, match="no time to send") as caught:
        enqueuer.enqueue("emails", job("a"))
    assert caught.value.ids == ("a",)
    assert enqueuer.enqueue("emails", job("a")) == [True]


@pytest.mark.fault(47)
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
