"""What the Redis-only tests share: a fresh server for each test, on Valkey and on Redis.

The test modules import its fixtures; ``driver`` takes the place of the suite's own there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Self

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


class Proxy:
    """Passes bytes between driver and server until told to lose the answers.

    ``lose_answers``: what is sent from now on reaches the server, its answer does not come back,
    and the connection ends.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self.lose_answers = False
        self.connections = 0

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._listener.sockets[0].getsockname()[1]
        self.url = f"redis://127.0.0.1:{port}/0"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._server.port)
        upwards = asyncio.create_task(self._pass(reader, up_writer))
        while answer := await up_reader.read(65536):
            if self.lose_answers:
                break
            writer.write(answer)
        upwards.cancel()
        writer.close()
        up_writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()
