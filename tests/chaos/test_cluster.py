"""A daemon on a cluster: a queue moves, a node dies and comes back, a replica takes over."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.chaos.failover import (
    Producer,
    all_that_it_tells,
    driver_errors,
    until_replicated,
)
from tests.chaos.hasty import HastyDaemon
from tests.chaos.ledger import WORK, Ledger
from tests.chaos.oracle import verdict
from tests.contract.cluster import Cluster, clustered
from tests.contract.redis_steps import SERVERS, start
from tests.process.harness import PATIENCE, Daemon, until

CONFIG = """
connection: "{connection}"
imports: [work]
http: {{listen: "127.0.0.1:0"}}
queues:
  {queues}
"""
POOL = "{name}: {{processes: 1, concurrency: 5, sleep: 600}}"
CALLS = 300
"""Failed calls of three workers and the monitor in an outage of seconds; who spins makes more."""
SECRET = "s-ecret"


class Site:
    """A cluster, and a daemon with a queue on each of its primaries."""

    def __init__(self, cluster: Cluster, daemon: Daemon, ledger: Ledger) -> None:
        self.cluster, self.daemon, self.ledger = cluster, daemon, ledger
        self.queues = list(daemon.status()["pools"])
        self.producer = Producer(cluster.url, self.queues, ledger)
        self.workers = daemon.until_staffed()

    async def is_whole(self, url: str) -> None:
        judgement = await verdict(url, self.queues, self.ledger, PATIENCE)
        assert judgement.broken == []
        assert judgement.failed == 0
        assert {one["pid"] for one in self.daemon.workers()} == self.workers
        assert driver_errors(self.daemon.metrics()) < CALLS
        assert SECRET not in all_that_it_tells(self.daemon)


@pytest.fixture
def replicas(request: pytest.FixtureRequest) -> int:
    return int(getattr(request, "param", 0))


@pytest.fixture(params=SERVERS)
def site(request: pytest.FixtureRequest, tmp_path: Path, replicas: int) -> Iterator[Site]:
    kept = ("--appendonly", "yes", "--appendfsync", "always")
    with contextlib.ExitStack() as stack:
        begin = partial(start, request.param)
        cluster = stack.enter_context(
            clustered(begin, tmp_path / "n", *kept, replicas=replicas, password=SECRET)
        )
        ledger = stack.enter_context(contextlib.closing(Ledger(tmp_path / "ledger")))
        queues = [cluster.queue_on(node) for node in cluster.nodes[:3]]
        pools = "\n  ".join(POOL.format(name=name) for name in queues)
        (tmp_path / "daemon").mkdir()
        config = CONFIG.format(connection=cluster.url, queues=pools)
        daemon = HastyDaemon(tmp_path / "daemon", config, jobs=WORK, **ledger.environment)
        stack.callback(daemon.clean_up)
        yield Site(cluster, daemon.start(), ledger)


async def test_queues_move_under_load(site: Site) -> None:
    """Settlements and reservations wait for the slot, or follow it; no job runs twice."""
    cluster, producer = site.cluster, site.producer
    producer.start()
    await producer.more(30, *site.queues)
    for turn in range(1, 4):
        for number, queue in enumerate(site.queues):
            target = cluster.nodes[(number + turn) % 3]
            await asyncio.to_thread(cluster.migrate, queue, target)
        await producer.more(15, *site.queues)
    await producer.stop()
    producer.settle()
    await site.is_whole(cluster.url)


@pytest.mark.fault(25)
async def test_a_node_dies_and_comes_back_under_load(site: Site) -> None:
    cluster, producer = site.cluster, site.producer
    producer.start()
    await producer.more(30, *site.queues)
    names = cluster.owner_of_key("queued:queues")
    node = next(node for node in cluster.nodes if node is not names)
    lost = next(queue for queue in site.queues if cluster.owner(queue) is node)
    others = [queue for queue in site.queues if queue != lost]
    with site.ledger.fault("node", (), outage=True):  # its file has all: no job runs again
        await asyncio.to_thread(node.kill)
        await producer.more(60, *others)
        await asyncio.to_thread(node.start)
        await asyncio.to_thread(cluster.settle)
    await producer.more(30, *site.queues)
    await producer.stop()
    producer.settle()
    await site.is_whole(cluster.url)
    assert "queue.unavailable" in site.daemon.output()
    assert "backend.unreachable" not in site.daemon.output(), "the other nodes answered"


@pytest.mark.fault(47)
@pytest.mark.parametrize("replicas", [3], indirect=True)
async def test_a_replica_takes_over_under_load(site: Site) -> None:
    cluster, producer = site.cluster, site.producer
    producer.start()
    await producer.more(30, *site.queues)
    node, lost = cluster.nodes[0], site.queues[0]
    replica = cluster.nodes[3]
    since = time.monotonic()
    await asyncio.to_thread(until_replicated, cluster.client(node), cluster.client(replica))
    with site.ledger.fault("failover", outage=True):
        await asyncio.to_thread(node.kill)
        await asyncio.to_thread(until, lambda: cluster.owner(lost) is not node, "a promotion")
        promoted = time.monotonic()
        await producer.more(3, *site.queues)
    await producer.more(30, *site.queues)
    await producer.stop()
    producer.settle(lost, since, promoted)
    await site.is_whole(cluster.url)
