"""How the Redis driver wakes idle workers."""

from __future__ import annotations

import asyncio

import redis

from queued.drivers.redis import RedisDriver
from tests.contract.redis_steps import (
    driver_of_server,  # noqa: F401 - a fixture
    fresh_server,  # noqa: F401 - a fixture
    opened,
    operator_client,  # noqa: F401 - a fixture
    scripts_run,
)
from tests.contract.servers import Server
from tests.contract.steps import (
    ME,
    OTHER,
    WITHIN,
    Q,
    ids,
    listen,
    names,
    push,
    until,
)


async def test_a_push_wakes_one_of_those_who_wait(server: Server, driver: RedisDriver) -> None:
    async with opened(server.url) as one, opened(server.url) as other:
        both = (one, ME), (other, OTHER)
        waits = [asyncio.create_task(listen(d, 2 * WITHIN, owner=owner)) for d, owner in both]
        await until_blocked(server, 2)
        await push(driver, "a")
        woken, asleep = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        assert [ids(await w) for w in woken] == [["a"]]
        assert len(asleep) == 1
        await push(driver, "b")
        assert [ids(await w) for w in asleep] == [["b"]]


async def test_a_push_takes_one_wake_up_of_two_commands(
    server: Server, driver: RedisDriver, admin: redis.Redis
) -> None:
    async with opened(server.url) as worker:
        waiting = asyncio.create_task(listen(worker, 30, 5))
        await until_blocked(server, 1)
        admin.config_resetstat()
        await push(driver, *names(3))
        assert ids(await waiting) == names(3)
        assert scripts_run(admin) == 2, "the push, and the reserve that had been sent before"
        assert await listen(worker, 0.05) == []
        assert scripts_run(admin) == 3


async def test_a_listen_survives_that_the_scripts_are_forgotten(
    server: Server, driver: RedisDriver, admin: redis.Redis
) -> None:
    async with opened(server.url) as worker:
        waiting = asyncio.create_task(listen(worker, 30))
        await until_blocked(server, 1)
        admin.script_flush()
        admin.rpush(f"queued:{{{Q}}}:wake", "1")
        assert await waiting == []
        await push(driver, "a")
        assert ids(await listen(worker, 30)) == ["a"]


async def test_a_cancelled_wait_leaves_the_next_push_to_the_next_wait(
    server: Server,
    driver: RedisDriver,
) -> None:
    waiting = asyncio.create_task(listen(driver, 30))
    await until_blocked(server, 1)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    await until_blocked(server, 0)
    await push(driver, "a")
    assert ids(await listen(driver, 30)) == ["a"]


async def until_blocked(server: Server, count: int) -> None:
    """Wait until this many clients block on the server."""
    with redis.Redis(port=server.port) as client:

        async def blocked() -> bool:
            return client.info("clients")["blocked_clients"] == count

        await until(blocked)
