"""What the Redis driver does when the server refuses, restarts, hangs, or an answer is lost."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator

import pytest
import redis

from queued.drivers.base import NewJob, State
from queued.drivers.redis import RedisDriver
from queued.drivers.redis.scripts import scripts
from queued.errors import DriverError, DriverUnavailable
from tests.contract.redis_steps import (
    Proxy,
    driver_of_server,  # noqa: F401 - a fixture
    fresh_server,  # noqa: F401 - a fixture
    opened,
    operator_client,  # noqa: F401 - a fixture
    scripts_run,
)
from tests.contract.servers import Server, free_port
from tests.contract.steps import (
    ME,
    WITHIN,
    Q,
    ack,
    drain,
    fail,
    hold,
    ids,
    names,
    push,
    release,
    reserve,
    retry,
    settle,
    size,
    until,
)


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[Proxy]:
    async with Proxy(server) as proxy:
        yield proxy


# NOSCRIPT


async def test_flushed_scripts_are_loaded_again(driver: RedisDriver, admin: redis.Redis) -> None:
    held = await hold(driver, "a")
    await push(driver, "b")
    admin.script_flush()
    answer = await driver.exchange(Q, ME, [ack(held)], want=1, nonce=10**6)
    assert (answer.lost, ids(answer.jobs)) == ([], ["b"])


async def test_only_what_was_refused_runs_again(driver: RedisDriver, admin: redis.Redis) -> None:
    held = await hold(driver, "a")
    await push(driver, "b")
    admin.script_flush()
    admin.script_load(scripts()["ack"].text)
    answer = await driver.exchange(Q, ME, [ack(held)], want=1, nonce=10**6)
    assert (answer.lost, ids(answer.jobs)) == ([], ["b"])


# lost answers


async def test_a_reserve_whose_answer_was_lost_gives_the_same_batch(
    server: Server,
    driver: RedisDriver,
    proxy: Proxy,
) -> None:
    await push(driver, *names(4))
    async with opened(proxy.url) as worker:
        first = await worker.exchange(Q, ME, want=1, nonce=1)
        proxy.lose_answers = True
        with pytest.raises(DriverUnavailable, match="cannot be reached"):
            await worker.exchange(Q, ME, [ack(first.jobs[0])], want=2, nonce=2)
        proxy.lose_answers = False
        again = await worker.exchange(Q, ME, [ack(first.jobs[0])], want=2, nonce=2)
    assert ids(again.jobs) == names(4)[1:3]
    assert again.lost == names(4)[:1]
    assert (await driver.stats([Q]))[Q].reserved == 2


async def test_no_command_is_sent_twice_by_itself(
    driver: RedisDriver,
    admin: redis.Redis,
    proxy: Proxy,
) -> None:
    async with opened(proxy.url) as producer:
        before = scripts_run(admin)
        connections = proxy.connections
        proxy.lose_answers = True
        with pytest.raises(DriverUnavailable) as caught:
            await producer.enqueue(Q, [NewJob("a", b"a"), NewJob("b", b"b")])
        assert scripts_run(admin) == before + 1
        assert proxy.connections <= connections + 1
        proxy.lose_answers = False
        assert caught.value.ids == ("a", "b")
        assert await producer.enqueue(Q, [NewJob("a", b"a")]) == [False]
    assert await drain(driver) == ["a", "b"]


async def test_a_late_copy_of_an_answered_reserve_takes_nothing(driver: RedisDriver) -> None:
    await push(driver, *names(3))
    for nonce in (1, 2):
        await driver.exchange(Q, ME, want=1, nonce=nonce)
    late = await driver.exchange(Q, ME, want=1, nonce=1)
    assert late.jobs == []
    assert await size(driver) == 1


# refusals


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
    assert sorted(await drain(driver)) == sorted([*names(6)[1:3], *names(6)[4:], "later"])
    assert await driver.requeue(Q, [names(6)[3]]) == [True]
    assert await driver.cancel(Q, names(6)[3]) is State.READY
    admin.config_set("maxmemory", 0)
    assert await driver.enqueue(Q, [NewJob("x", b"x")]) == [True]


async def test_a_replica_refuses_until_it_is_promoted(
    driver: RedisDriver,
    admin: redis.Redis,
) -> None:
    held = await hold(driver, "a")
    connects = driver._main.connects
    admin.execute_command("REPLICAOF", "127.0.0.1", str(free_port()))
    for call in (
        driver.enqueue(Q, [NewJob("b", b"b")]),
        driver.exchange(Q, ME, [ack(held)], want=1, nonce=10**6),
        driver.ping(),
        driver.wait(Q, 1),
    ):
        with pytest.raises(DriverUnavailable, match="read-only replica"):
            await call
    admin.execute_command("REPLICAOF", "NO", "ONE")
    answer = await driver.exchange(Q, ME, [ack(held)], want=1, nonce=10**6)
    assert (answer.lost, answer.jobs) == ([], [])
    assert driver._main.connects == connects + 3  # a new connection after each refusal


async def test_a_server_busy_with_a_script(
    server: Server, driver: RedisDriver, admin: redis.Redis
) -> None:
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


async def test_a_foreign_key_under_our_name_is_no_outage(
    driver: RedisDriver,
    admin: redis.Redis,
) -> None:
    admin.set("queued:{emails}:ready", "somebody's")
    with pytest.raises(DriverError, match="WRONGTYPE") as caught:
        await push(driver, "a")
    assert not isinstance(caught.value, DriverUnavailable)


# logins


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
        assert await driver.wait(Q, WITHIN)
        assert await settle(driver, fail(held)) == []
        assert await driver.requeue(Q, ["a"]) == [True]
        assert await driver.queues() == [Q]
        assert await drain(driver) == ["b", "a"]
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


# restarts and hangs


async def test_nothing_listens() -> None:
    driver = RedisDriver(f"redis://:secret@127.0.0.1:{free_port()}")
    for call in (driver.open(), driver.enqueue(Q, [NewJob("a", b"a")]), driver.wait(Q, 1)):
        with pytest.raises(DriverUnavailable, match="cannot be reached") as caught:
            await call
        assert "secret" not in str(caught.value)
        assert "\n" not in str(caught.value)
    await driver.close()


async def test_a_restart_costs_at_most_the_calls_under_way(
    server: Server,
    driver: RedisDriver,
) -> None:
    await push(driver, "a")
    waiting = asyncio.create_task(driver.wait("other", WITHIN))
    server.kill()
    with pytest.raises(DriverUnavailable):
        await waiting
    with pytest.raises(DriverUnavailable):
        await driver.enqueue(Q, [NewJob("b", b"b")])
    server.start()
    await push(driver, "c")
    assert await driver.queues() == [Q]  # stored again: the server lost it
    assert await drain(driver) == ["c"]


async def test_an_idle_connection_that_was_closed_costs_no_call(
    driver: RedisDriver,
    admin: redis.Redis,
) -> None:
    await push(driver, "a")
    admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    await asyncio.to_thread(admin.ping)  # the loop has seen the end of the connection
    await push(driver, "b")
    assert await drain(driver) == ["a", "b"]


async def test_a_server_that_hangs_is_unavailable_within_the_bound(
    server: Server,
    driver: RedisDriver,
) -> None:
    await push(driver, *names(3))
    driver._main.within = driver._waiter.within = 0.2
    server.pause()
    try:
        async with asyncio.timeout(WITHIN):
            for call in (
                driver.exchange(Q, ME, want=2, nonce=1),
                driver.exchange(Q, ME, want=2, nonce=1),
                driver.wait(Q, 0.1),
            ):
                with pytest.raises(DriverUnavailable, match="did not answer within"):
                    await call
    finally:
        server.resume()
    driver._main.within = WITHIN
    again = await driver.exchange(Q, ME, want=2, nonce=1)
    assert ids(again.jobs) == names(3)[:2]
    assert (await driver.stats([Q]))[Q].reserved == 2


async def test_a_cancelled_exchange_leaves_no_answer_for_the_next_one(
    server: Server,
    driver: RedisDriver,
) -> None:
    await push(driver, *names(2))
    server.pause()
    calls = [asyncio.create_task(driver.exchange(Q, ME, want=1, nonce=1)) for _ in range(2)]
    await asyncio.sleep(0)  # one is under way, one waits for its turn
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    assert all(call.cancelled() for call in calls)
    server.resume()
    assert ids((await driver.exchange(Q, ME, want=1, nonce=1)).jobs) == names(2)[:1]
    assert (await driver.stats([Q]))[Q].ready == 1


async def test_closing_ends_a_wait_and_refuses_calls_until_it_is_opened_again(
    driver: RedisDriver,
) -> None:
    waiting = asyncio.create_task(driver.wait(Q, WITHIN))
    await asyncio.sleep(0)
    await driver.close()
    await driver.close()
    with pytest.raises(DriverUnavailable):
        await waiting
    with pytest.raises(DriverUnavailable, match="closed"):
        await push(driver, "a")
    await driver.open()
    await push(driver, "a")


# waking


async def test_a_push_wakes_one_of_those_who_wait(server: Server, driver: RedisDriver) -> None:
    async with opened(server.url) as one, opened(server.url) as other:
        waits = [asyncio.create_task(d.wait(Q, 2 * WITHIN)) for d in (one, other)]
        await until_blocked(server, 2)
        await push(driver, "a")
        woken, asleep = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        assert [await w for w in woken] == [True]
        assert len(asleep) == 1
        await driver.wake(Q)
        assert await asyncio.gather(*asleep) == [True]


async def test_a_cancelled_wait_leaves_the_next_push_to_the_next_wait(
    server: Server,
    driver: RedisDriver,
) -> None:
    waiting = asyncio.create_task(driver.wait(Q, 30))
    await until_blocked(server, 1)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    await until_blocked(server, 0)
    await push(driver, "a")
    assert await driver.wait(Q, 30) is True
    assert await driver.wait(Q, 0) is False


async def until_blocked(server: Server, count: int) -> None:
    """Wait until this many clients block on the server."""
    with redis.Redis(port=server.port) as client:

        async def blocked() -> bool:
            return client.info("clients")["blocked_clients"] == count

        await until(blocked)
