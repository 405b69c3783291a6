"""What the Redis-only tests share: a fresh server for each test, on Valkey and on Redis.

The test modules import its fixtures; ``driver`` takes the place of the suite's own there.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis

from queued.drivers.redis import RedisDriver
from tests.contract.backends import unavailable
from tests.contract.servers import Server, redis_program, running, start_redis, start_valkey

SERVERS = ["valkey", "redis7"]


def start(kind: str, folder: Path, *args: str) -> Server:
    if kind == "valkey":
        return start_valkey(folder, *args)
    if redis_program() is None:
        unavailable("redis-server is not installed")
    return start_redis(folder, *args)


@pytest.fixture(name="server", params=SERVERS)
def fresh_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    with running(start(request.param, tmp_path)) as server:
        yield server


@pytest.fixture(name="admin")
def operator_client(server: Server) -> Iterator[redis.Redis]:
    """An operator's client, beside the driver."""
    with redis.Redis(port=server.port) as client:
        yield client


@pytest.fixture(name="driver")
async def driver_of_server(server: Server) -> AsyncIterator[RedisDriver]:
    async with opened(server.url) as driver:
        yield driver


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[RedisDriver]:
    driver = RedisDriver(url)
    try:
        await driver.open()
        yield driver
    finally:
        await driver.close()


def scripts_run(admin: redis.Redis) -> int:
    """How many EVALSHA the server has run, refused ones left out."""
    calls = admin.info("commandstats").get("cmdstat_evalsha", {})
    return int(calls.get("calls", 0)) - int(calls.get("rejected_calls", 0))
