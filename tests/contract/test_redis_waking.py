"""How the Redis driver wakes idle workers."""

from __future__ import annotations

import asyncio

import redis

from queued.drivers.redis import RedisDriver
from tests.contract.redis_steps import (
    driver_of_server,  # noqa: F401 - a fixture
    fresh_server,  # noqa: F401 - a fixture
    opened,
)
from tests.contract.servers import Server
from tests.contract.steps import (
    WITHIN,
    Q,
    push,
    until,
)


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
