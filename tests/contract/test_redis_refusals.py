"""What the Redis driver says and does when the server refuses: for now, or this user."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from pathlib import Path

import pytest
import redis

from queued.drivers.base import NewJob, State
from queued.drivers.redis import RedisDriver
from queued.errors import DriverError, DriverUnavailable
from tests.chaos.invariants import broken
from tests.contract.redis_steps import (
    SERVERS,
    driver_of_server,  # noqa: F401 - a fixture
    fresh_server,  # noqa: F401 - a fixture
    opened,
    operator_client,  # noqa: F401 - a fixture
    start,
)
from tests.contract.servers import Server, free_port, running
from tests.contract.steps import (
    ME,
    WITHIN,
    Q,
    ack,
    drain,
    fail,
    hold,
    ids,
    listen,
    names,
    push,
    release,
    reserve,
    retry,
    settle,
    until,
)
from tests.contract.test_unreachable import VERBS


@pytest.mark.fault(28)
async def test_a_full_memory_refuses_new_jobs_and_lets_all_others_finish(
    driver: RedisDriver,
    admin: redis.Redis,
) -> None:
    await push(driver, *names(6))
    await push(driver, "later", delay=0.001)
    jobs = await reserve(driver, 4)
    admin.config_set("maxmemory", 1)
    with pytest.raises(DriverUnavailable, match="memory is full") as caught:
        await driver.enqueue(Q, [NewJob("x", b"x"), NewJob("y", b"y", 5)])
    assert caught.value.ids == ("x", "y")
    assert [await driver.find(job_id) for job_id in ("x", "y")] == [None, None]
    assert (await driver.stats([Q]))[Q].enqueued_total == 7
    await driver.ping()
    lost = await settle(
        driver,
        ack(jobs[0]),
        retry(jobs[1], 0.0),
        release(jobs[2]),
        fail(jobs[3], record=b"r" * 999),
    )
    assert lost == []
    assert broken(admin, Q) == []
    assert sorted(await drain(driver)) == sorted([*names(6)[1:3], *names(6)[4:], "later"])
    assert await driver.requeue(Q, [names(6)[3]]) == [True]
    assert await driver.cancel(Q, names(6)[3]) is State.READY
    admin.config_set("maxmemory", 0)
    assert await driver.enqueue(Q, [NewJob("x", b"x")]) == [True]


@pytest.mark.fault(29)
async def test_a_replica_refuses_until_it_is_promoted(
    driver: RedisDriver,
    admin: redis.Redis,
) -> None:
    held = await hold(driver, "a")
    before = admin.info("stats")["total_connections_received"]
    admin.execute_command("REPLICAOF", "127.0.0.1", str(free_port()))
    for call in (
        driver.enqueue(Q, [NewJob("b", b"b")]),
        driver.exchange(Q, ME, [ack(held)], want=1, nonce=10**6),
        driver.ping(),
        listen(driver, 1),
    ):
        with pytest.raises(DriverUnavailable, match="read-only replica"):
            await call
    admin.execute_command("REPLICAOF", "NO", "ONE")
    answer = await driver.exchange(Q, ME, [ack(held)], want=1, nonce=10**6)
    assert (answer.lost, answer.jobs) == ([], [])
    connections = admin.info("stats")["total_connections_received"] - before
    assert connections == 1 + 3  # of the wait, and a new one after each refusal


async def test_a_server_busy_with_a_script(
    server: Server, driver: RedisDriver, admin: redis.Redis
) -> None:
    await driver.enqueue(Q, [NewJob("a", b"a")])
    admin.config_set("busy-reply-threshold", 50)

    def loop() -> None:
        with redis.Redis(port=server.port) as other, contextlib.suppress(redis.ResponseError):
            other.eval("while true do end", 0)  # ends by SCRIPT KILL

    looping = threading.Thread(target=loop)
    looping.start()
    try:
        async with asyncio.timeout(WITHIN):
            while True:  # until the loop has begun
                with contextlib.suppress(DriverError):
                    await driver.enqueue(Q, [NewJob("a", b"a")])
                    continue
                break
        with pytest.raises(DriverUnavailable, match="busy"):
            await driver.exchange(Q, ME, want=1, nonce=1)
    finally:
        admin.script_kill()
        looping.join()
    assert ids((await driver.exchange(Q, ME, want=1, nonce=1)).jobs) == ["a"]


async def test_too_few_replicas(driver: RedisDriver, admin: redis.Redis) -> None:
    held = await hold(driver, "a")
    admin.config_set("min-replicas-to-write", 1)
    for call in (driver.ping(), push(driver, "b"), settle(driver, ack(held))):
        with pytest.raises(DriverUnavailable, match="replicas are in sync"):
            await call
    admin.config_set("min-replicas-to-write", 0)
    assert await settle(driver, ack(held)) == []


async def test_a_disk_that_takes_nothing(
    server: Server, driver: RedisDriver, admin: redis.Redis
) -> None:
    held = await hold(driver, "a")
    (server.folder / "dump.rdb").mkdir()  # so that the snapshot cannot be stored
    admin.config_set("save", "3600 1")
    admin.bgsave()

    async def has_failed() -> bool:
        return admin.info("persistence")["rdb_last_bgsave_status"] == "err"

    await until(has_failed)
    for call in (driver.ping(), push(driver, "b"), settle(driver, ack(held))):
        with pytest.raises(DriverUnavailable, match="cannot write to its disk"):
            await call
    admin.config_set("save", "")
    assert await settle(driver, ack(held)) == []


@pytest.mark.parametrize("kind", SERVERS)
async def test_a_cluster_without_slots(kind: str, tmp_path: Path) -> None:
    with running(start(kind, tmp_path, "--cluster-enabled", "yes")) as server:
        async with opened(server.url) as driver:
            with pytest.raises(DriverUnavailable, match="cluster is down"):
                await push(driver, "a")


async def test_a_foreign_key_under_our_name_is_no_outage(
    driver: RedisDriver,
    admin: redis.Redis,
) -> None:
    admin.set("queued:{emails}:ready", "somebody's")
    with pytest.raises(DriverError, match="WRONGTYPE") as caught:
        await push(driver, "a")
    assert not isinstance(caught.value, DriverUnavailable)


@pytest.fixture
def url_of_user(server: Server, admin: redis.Redis) -> str:
    """A user who may do what a worker needs, on our prefix only."""
    rights = ["~queued:*", "+@read", "+@write", "+@scripting", "+@connection", "+time"]
    admin.execute_command("ACL", "SETUSER", "worker", "on", ">p-ss", *rights, "-@dangerous")
    return server.url.replace("//", "//worker:p-ss@")


async def test_a_user_with_the_rights_of_our_prefix_is_enough(url_of_user: str) -> None:
    async with opened(url_of_user) as driver:
        await driver.ping()
        held = await hold(driver, "a")
        await push(driver, "b")
        [other] = await listen(driver, WITHIN)
        assert await settle(driver, fail(held), release(other)) == []
        assert await driver.requeue(Q, ["a"]) == [True]
        assert await driver.queues() == [Q]
        assert await drain(driver) == ["b", "a"]
        for verb in VERBS.values():
            await verb(driver)
    enqueuer = RedisDriver.blocking(url_of_user)
    assert enqueuer.enqueue(Q, [NewJob("c", b"")]) == [True]
    enqueuer.close()
    async with opened(f"{url_of_user}?prefix=other") as driver:
        with pytest.raises(DriverUnavailable, match="ACL"):
            await push(driver, "a")


async def test_a_right_that_lacks_within_a_script_is_named(
    url_of_user: str, admin: redis.Redis
) -> None:
    async with opened(url_of_user) as driver:
        admin.execute_command("ACL", "SETUSER", "worker", "-time")
        with pytest.raises(DriverUnavailable, match="ACL"):
            await push(driver, "a")


@pytest.mark.parametrize("login", ["worker:wrong@", "nobody:p-ss@", ":wrong@"])
async def test_a_refused_login_says_so_without_the_password(url_of_user: str, login: str) -> None:
    driver = RedisDriver(url_of_user.replace("worker:p-ss@", login))
    with pytest.raises(DriverUnavailable, match="login") as caught:
        await driver.open()
    assert "wrong" not in str(caught.value)
    assert "p-ss" not in str(caught.value)
    await driver.close()
