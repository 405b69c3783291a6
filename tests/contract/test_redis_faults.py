"""What the Redis driver does when an answer is lost, and when the server restarts or hangs."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

import pytest
import redis

from queued.daemon.metrics import Metrics
from queued.daemon.monitor.janitor import Janitor
from queued.drivers.base import Charge, NewJob, Retry
from queued.drivers.redis import RedisDriver
from queued.drivers.redis.scripts import scripts
from queued.errors import DriverError, DriverUnavailable
from tests.chaos.proxy import Moment, Proxy
from tests.contract.redis_steps import (
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
    hold,
    ids,
    listen,
    names,
    push,
    size,
    until,
)


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.mark.fault(31)
async def test_flushed_scripts_are_loaded_again(driver: RedisDriver, admin: redis.Redis) -> None:
    held = await hold(driver, "a")
    await push(driver, "b")
    admin.script_flush()
    answer = await driver.exchange(Q, ME, [ack(held)], want=1, nonce=10**6)
    assert (answer.lost, ids(answer.jobs)) == ([], ["b"])


@pytest.mark.fault(31)
async def test_only_what_was_refused_runs_again(driver: RedisDriver, admin: redis.Redis) -> None:
    held = await hold(driver, "a")
    await push(driver, "b")
    admin.script_flush()
    admin.script_load(scripts()["ack"].text)
    answer = await driver.exchange(Q, ME, [ack(held)], want=1, nonce=10**6)
    assert (answer.lost, ids(answer.jobs)) == ([], ["b"])


@pytest.mark.fault(31)
async def test_a_reservation_does_not_overtake_a_settlement_that_was_refused(
    driver: RedisDriver, admin: redis.Redis
) -> None:
    """The server knows one script and not the other, as when versions are mixed."""
    held = await hold(driver, "a")
    await push(driver, "b")
    admin.script_flush()
    admin.script_load(scripts()["reserve"].text)
    retry = Retry(held.id, held.fence, 100.0, Charge.ERROR)
    answer = await driver.exchange(Q, ME, [retry], want=1, nonce=10**6)
    assert (answer.lost, ids(answer.jobs)) == ([], ["b"])
    assert answer.next_due is not None


@pytest.mark.fault(31)
async def test_scripts_that_are_flushed_again_and_again(
    driver: RedisDriver, admin: redis.Redis
) -> None:
    """Also between the loading and the call: that passes, and is no error of the caller's."""
    done = threading.Event()

    def flush() -> None:
        while not done.is_set():
            admin.script_flush()

    flushing = asyncio.create_task(asyncio.to_thread(flush))
    try:
        for name in names(100):
            with contextlib.suppress(DriverUnavailable):
                await push(driver, name)
    finally:
        done.set()
        await flushing
    for name in names(100):
        await driver.enqueue(Q, [NewJob(name, b"")])
    assert sorted(await drain(driver)) == sorted(names(100))


async def test_a_queue_that_answers_with_an_error_holds_up_no_others(
    driver: RedisDriver, admin: redis.Redis
) -> None:
    """A key of somebody else's where its owners should be."""
    admin.set("queued:{a}:owners", "mine")
    janitor = Janitor(driver, Metrics(), reap_after=0.0, second_look=0.0)
    await push(driver, "lost")
    assert (await driver.exchange(Q, "lost-host", want=1, nonce=1, lease=0.01)).jobs
    await driver.enqueue("z", [NewJob("kept", b"")])
    assert (await driver.exchange("z", "living", want=1, nonce=1, lease=1.0)).jobs
    with pytest.raises(DriverError, match="WRONGTYPE"):
        await janitor.renew({"a": ["x"], "z": ["living"]})
    assert (await driver.owners("z"))["living"] > 20.0
    await janitor.sample([Q])

    async def reaped() -> bool:
        with pytest.raises(DriverError, match="WRONGTYPE"):
            await janitor.reap(["a", Q], "ours-")
        return await size(driver) == 1

    await until(reaped)


@pytest.mark.fault(32)
async def test_a_reserve_whose_answer_was_lost_gives_the_same_batch(
    server: Server,
    driver: RedisDriver,
    proxy: Proxy,
) -> None:
    await push(driver, *names(4))
    async with opened(proxy.url) as worker:
        first = await worker.exchange(Q, ME, want=1, nonce=1)
        proxy.reset(Moment.AFTER)
        with pytest.raises(DriverUnavailable, match="cannot be reached"):
            await worker.exchange(Q, ME, [ack(first.jobs[0])], want=2, nonce=2)
        proxy.heal()
        again = await worker.exchange(Q, ME, [ack(first.jobs[0])], want=2, nonce=2)
    assert ids(again.jobs) == names(4)[1:3]
    assert again.lost == names(4)[:1]
    assert (await driver.stats([Q]))[Q].reserved == 2


@pytest.mark.fault(32)
async def test_no_command_is_sent_twice_by_itself(
    driver: RedisDriver,
    admin: redis.Redis,
    proxy: Proxy,
) -> None:
    async with opened(proxy.url) as producer:
        before = scripts_run(admin)
        connections = proxy.connections
        proxy.reset(Moment.AFTER)
        with pytest.raises(DriverUnavailable) as caught:
            await producer.enqueue(Q, [NewJob("a", b"a"), NewJob("b", b"b")])
        assert scripts_run(admin) == before + 1
        assert proxy.connections <= connections + 1
        proxy.heal()
        assert caught.value.ids == ("a", "b")
        assert await producer.enqueue(Q, [NewJob("a", b"a")]) == [False]
    assert await drain(driver) == ["a", "b"]


async def test_a_queue_is_known_when_the_answer_to_its_first_job_was_lost(
    driver: RedisDriver,
    proxy: Proxy,
) -> None:
    async with opened(proxy.url) as producer:
        proxy.reset(Moment.AFTER)
        with pytest.raises(DriverUnavailable):
            await push(producer, "a")
    assert await driver.queues() == [Q]
    assert await driver.find("a") is not None


async def test_a_late_copy_of_an_answered_reserve_takes_nothing(driver: RedisDriver) -> None:
    await push(driver, *names(3))
    for nonce in (1, 2):
        await driver.exchange(Q, ME, want=1, nonce=nonce)
    late = await driver.exchange(Q, ME, want=1, nonce=1)
    assert late.jobs == []
    assert await size(driver) == 1


async def test_nothing_listens() -> None:
    driver = RedisDriver(f"redis://:secret@127.0.0.1:{free_port()}")
    for call in (driver.open(), driver.enqueue(Q, [NewJob("a", b"a")]), listen(driver, 1)):
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
    waiting = asyncio.create_task(listen(driver, WITHIN, queue="other"))
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


@pytest.mark.fault(33)
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
                listen(driver, 0.1),
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
    waiting = asyncio.create_task(listen(driver, WITHIN))
    await asyncio.sleep(0)
    await driver.close()
    await driver.close()
    with pytest.raises(DriverUnavailable):
        await waiting
    with pytest.raises(DriverUnavailable, match="closed"):
        await push(driver, "a")
    await driver.open()
    await push(driver, "a")
