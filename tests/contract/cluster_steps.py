"""What the tests of a cluster share: one for each kind of server, whole and empty for each test.

The test modules import its fixtures; ``driver`` takes the place of the suite's own there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import partial

import pytest

from queued.drivers.base import NewJob
from queued.drivers.redis import RedisDriver
from queued.drivers.redis.blocking import BlockingRedis
from tests.contract.cluster import Cluster, clustered
from tests.contract.redis_steps import SERVERS, opened, start
from tests.contract.servers import Server


@pytest.fixture(name="kind", scope="module", params=SERVERS)
def kind_of_server(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(name="shared", scope="module")
def running_cluster(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp(kind)
    with clustered(partial(start, kind), folder, "--appendonly", "yes", password="s3cret") as made:
        yield made


@pytest.fixture(name="cluster")
def whole_cluster(shared: Cluster) -> Cluster:
    """Three primaries, whole and empty; who owns what may have changed."""
    for node in shared.nodes:
        if not node.answers():
            node.start()
    shared.settle()
    shared.flush()
    for node in shared.nodes:
        shared.ask(node, "SCRIPT", "FLUSH")
    return shared


@pytest.fixture(name="queues")
def queue_of_each_node(cluster: Cluster) -> list[str]:
    """A queue for each node, in their order."""
    return [cluster.queue_on(node) for node in cluster.nodes]


@pytest.fixture(name="driver")
async def driver_of_cluster(cluster: Cluster) -> AsyncIterator[RedisDriver]:
    async with opened(cluster.url) as driver:
        yield driver


@pytest.fixture(name="enqueuer")
def blocking_enqueuer(cluster: Cluster) -> Iterator[BlockingRedis]:
    made = BlockingRedis(cluster.url)
    yield made
    made.close()


def job(name: str) -> list[NewJob]:
    return [NewJob(name, name.encode())]


def keys(cluster: Cluster, node: Server) -> set[str]:
    return {key.decode() for key in cluster.ask(node, "KEYS", "*")}


async def waits(cluster: Cluster, node: Server) -> bool:
    info = cluster.ask(node, "INFO", "clients")
    text = info if isinstance(info, dict) else info.decode()
    if isinstance(text, dict):
        return bool(text["blocked_clients"])
    return "blocked_clients:0" not in text
