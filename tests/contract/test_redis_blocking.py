"""Enqueueing on Redis without an event loop: the promises of ``Driver.enqueue``, fault by fault."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from queued.drivers import enqueuer_for
from queued.drivers.base import NewJob
from queued.drivers.redis import RedisDriver
from queued.drivers.redis.blocking import BlockingRedis
from queued.errors import DriverError, DriverUnavailable
from queued.version import __version__
from tests.chaos.proxy import Moment, Proxy
from tests.contract.redis_steps import (
    driver_of_server,  # noqa: F401 - a fixture
    fresh_server,  # noqa: F401 - a fixture
    operator_client,  # noqa: F401 - a fixture
)
from tests.contract.servers import Server, free_port
from tests.contract.steps import Q, drain, size


@pytest.fixture
def enqueuer(server: Server) -> Iterator[BlockingRedis]:
    made = BlockingRedis(server.url)
    yield made
    made.close()


def jobs(*ids: str, delay: float = 0.0) -> list[NewJob]:
    return [NewJob(job_id, job_id.encode(), delay) for job_id in ids]


def connections(admin: redis.Redis) -> int:
    return len([one for one in admin.client_list() if one["cmd"] != "client|list"])


def test_only_a_driver_that_has_one_offers_one(server: Server) -> None:
    assert isinstance(enqueuer_for(server.url), BlockingRedis)
    assert isinstance(enqueuer_for(server.url.replace("redis:", "REDIS:")), BlockingRedis)
    assert enqueuer_for("memory://none") is None


async def test_the_server_knows_whose_connections_these_are(
    enqueuer: BlockingRedis,
    driver: RedisDriver,
    admin: redis.Redis,
) -> None:
    enqueuer.enqueue(Q, jobs("a"))

    clients = [one for one in admin.client_list() if one["cmd"] != "client|list"]
    names = {(one.get("lib-name"), one.get("lib-ver")) for one in clients}
    # Redis 7.0 does not keep them yet
    assert names in ({("queued", __version__)}, {(None, None)})


async def test_it_enqueues_what_workers_reserve(
    enqueuer: BlockingRedis, driver: RedisDriver
) -> None:
    assert enqueuer.enqueue(Q, jobs("a", "b")) == [True, True]
    assert enqueuer.enqueue(Q, jobs("b", "c")) == [False, True]
    assert enqueuer.enqueue(Q, jobs("later", delay=3600)) == [True]

    assert await drain(driver) == ["a", "b", "c"]
    assert (await driver.stats([Q]))[Q].scheduled == 1
    assert await driver.queues() == [Q]


async def test_scripts_that_were_flushed_are_loaded_again(
    enqueuer: BlockingRedis, driver: RedisDriver, admin: redis.Redis
) -> None:
    enqueuer.enqueue(Q, jobs("a"))
    admin.script_flush()
    assert enqueuer.enqueue(Q, jobs("b")) == [True]
    assert await size(driver) == 2


async def test_a_restart_between_two_calls_is_noticed_before_anything_is_sent(
    enqueuer: BlockingRedis, server: Server
) -> None:
    enqueuer.enqueue(Q, jobs("a"))
    server.stop()
    server.start()
    assert enqueuer.enqueue(Q, jobs("b")) == [True]


@pytest.mark.fault(32)
@pytest.mark.parametrize("moment", Moment, ids=lambda moment: moment.name.lower())
async def test_a_call_that_is_cut_off_names_its_jobs_and_can_be_repeated(
    server: Server, driver: RedisDriver, moment: Moment
) -> None:
    with Proxy(server.port) as proxy:
        enqueuer = BlockingRedis(proxy.url)
        enqueuer.enqueue(Q, jobs("a"))
        proxy.reset(moment, times=1)
        with pytest.raises(DriverUnavailable, match="cannot be reached") as caught:
            enqueuer.enqueue(Q, jobs("b", "c"))
        assert caught.value.ids == ("b", "c")
        proxy.heal()
        enqueuer.enqueue(Q, jobs("b", "c"))
        enqueuer.close()
    assert await drain(driver) == ["a", "b", "c"]


def test_nobody_there() -> None:
    enqueuer = BlockingRedis(f"redis://:secret@127.0.0.1:{free_port()}")
    with pytest.raises(DriverUnavailable, match="cannot be reached: connection refused") as caught:
        enqueuer.enqueue(Q, jobs("a"))
    assert caught.value.ids == ("a",)
    assert "secret" not in str(caught.value)


async def test_a_replica_refuses_and_its_connection_is_not_used_again(
    enqueuer: BlockingRedis, driver: RedisDriver, admin: redis.Redis
) -> None:
    enqueuer.enqueue(Q, jobs("a"))
    admin.replicaof("127.0.0.1", str(free_port()))
    with pytest.raises(DriverUnavailable, match="read-only replica"):
        enqueuer.enqueue(Q, jobs("b"))
    admin.replicaof("NO", "ONE")
    assert enqueuer.enqueue(Q, jobs("b")) == [True]
    assert await drain(driver) == ["a", "b"]


def test_what_passes_never_is_no_outage(enqueuer: BlockingRedis, admin: redis.Redis) -> None:
    admin.set("queued:{" + Q + "}:jobs", "somebody's")
    with pytest.raises(DriverError, match="WRONGTYPE") as caught:
        enqueuer.enqueue(Q, jobs("a"))
    assert not isinstance(caught.value, DriverUnavailable)


def test_threads_have_connections_of_their_own_and_share_what_is_idle(
    enqueuer: BlockingRedis, admin: redis.Redis
) -> None:
    before = connections(admin)
    started = threading.Barrier(4)

    def push(number: int) -> list[bool]:
        started.wait()
        return [enqueuer.enqueue(Q, jobs(f"{number}-{n}"))[0] for n in range(50)]

    with ThreadPoolExecutor(4) as pool:
        assert all(all(answers) for answers in pool.map(push, range(4)))
    most = connections(admin) - before
    assert 1 <= most <= 4
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: enqueuer.enqueue(Q, jobs(f"again-{n}")), range(4)))
    assert connections(admin) - before <= 4


async def test_a_forked_process_uses_none_of_its_parents_connections(
    enqueuer: BlockingRedis, driver: RedisDriver, admin: redis.Redis
) -> None:
    enqueuer.enqueue(Q, jobs("a"))
    (mine,) = (line._connection._sock for line in enqueuer._lines.idle)  # type: ignore[attr-defined]
    pid = os.fork()
    if pid == 0:
        inherited = len(enqueuer._lines.idle)
        os._exit(inherited or enqueuer.enqueue(Q, jobs("child")) != [True])
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0  # noqa: ASYNC222 - it ends by itself
    enqueuer.enqueue(Q, jobs("b"))
    assert [line._connection._sock for line in enqueuer._lines.idle] == [mine]  # type: ignore[attr-defined]
    assert await drain(driver) == ["a", "child", "b"]
