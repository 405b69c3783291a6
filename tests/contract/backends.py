"""The back-ends that the contract suite runs over. To add one: a function here, a line in BACKENDS.

Each is a generator that starts what it needs once a session, and yields a function that returns the
URL of a clean back-end, called once a test.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
import redis

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
    numbers = count()
    yield lambda: f"memory://contract-{next(numbers)}"


def valkey(folder: Path) -> Iterator[CleanUrl]:
    with running(start_valkey(folder)) as server:
        yield _flushing(server)


def redis7(folder: Path) -> Iterator[CleanUrl]:
    if redis_program() is None:
        unavailable("redis-server is not installed")
    with running(start_redis(folder)) as server:
        yield _flushing(server)


def _flushing(server: Server) -> CleanUrl:
    def clean_url() -> str:
        with redis.Redis(port=server.port) as client:
            client.flushall()
        return server.url

    return clean_url


def sqlite(folder: Path) -> Iterator[CleanUrl]:
    numbers = count()
    yield lambda: f"sqlite:///{folder}/queue-{next(numbers)}.db"


BACKENDS = {"memory": memory, "valkey": valkey, "redis7": redis7, "sqlite": sqlite}
