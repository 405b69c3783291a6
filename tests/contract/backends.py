"""The back-ends that the contract suite runs over. To add one: a function here, a line in BACKENDS.

Each is a generator that starts what it needs once a session, and yields a function that returns the
URL of a clean back-end, called once a test.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from uuid import uuid4

import pytest
import redis
from psycopg import sql

from tests.contract.cluster import clustered
from tests.contract.postgresql import FAST, program, running_postgresql
from tests.contract.servers import (
    Server,
    redis_program,
    running,
    start_redis,
    start_valkey,
)

CleanUrl = Callable[[], str]
"""Wipes the back-end (or takes a fresh one) and returns its URL."""


def unavailable(reason: str) -> None:
    """Skip; where nothing may skip (CI), fail."""
    if os.environ.get("QUEUED_TEST_ALL") == "1":
        pytest.fail(f"QUEUED_TEST_ALL is set, and {reason}")
    pytest.skip(reason)


def memory(_: Path) -> Iterator[CleanUrl]:
    yield lambda: f"memory://contract-{uuid4().hex}"


def valkey(folder: Path) -> Iterator[CleanUrl]:
    with running(start_valkey(folder)) as server:
        yield _flushing(server)


def redis7(folder: Path) -> Iterator[CleanUrl]:
    if redis_program() is None:
        unavailable("redis-server is not installed")
    with running(start_redis(folder)) as server:
        yield _flushing(server)


def cluster(folder: Path) -> Iterator[CleanUrl]:
    # None of them fails here: one that has no processor for a while is not to be taken for dead.
    with clustered(start_valkey, folder, "--cluster-node-timeout", "15000") as nodes:

        def clean_url() -> str:
            nodes.flush()
            return nodes.url

        yield clean_url


def _flushing(server: Server) -> CleanUrl:
    def clean_url() -> str:
        with redis.Redis(port=server.port) as client:
            client.flushall()
        return server.url

    return clean_url


def sqlite(folder: Path) -> Iterator[CleanUrl]:
    numbers = count()
    yield lambda: f"sqlite:///{folder}/queue-{next(numbers)}.db"


def postgresql(_: Path) -> Iterator[CleanUrl]:
    if program("postgres") is None:
        unavailable("PostgreSQL is not installed")
    with running_postgresql(*FAST) as server, server.connect() as operator:

        def clean_url() -> str:
            tables = "SELECT tablename FROM pg_tables WHERE tablename LIKE 'queued\\_%'"
            names = [name for (name,) in operator.execute(tables)]
            if names:
                for name in names:
                    operator.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(name)))
            return server.url

        yield clean_url


BACKENDS = {
    "memory": memory,
    "valkey": valkey,
    "redis7": redis7,
    "cluster": cluster,
    "sqlite": sqlite,
    "postgresql": postgresql,
}
