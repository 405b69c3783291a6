"""The back-ends of the soak, each to be broken at will. To add one: a function here, its faults in
``faults.py``."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from tests.contract.postgresql import Postgresql, program, running_postgresql
from tests.contract.servers import Server, redis_program, running, start_redis, start_valkey
from tests.process.harness import PATIENCE


@dataclass
class Backend:
    """A back-end: a server's process, or a file."""

    url: str
    suffers: frozenset[str] = frozenset()
    """Which groups of faults it knows: server, redis, postgresql, file."""
    server: Server | Postgresql | None = None
    file: Path | None = None

    def client(self) -> redis.Redis:
        assert isinstance(self.server, Server)
        return redis.Redis(port=self.server.port, socket_timeout=PATIENCE)

    def lock(self) -> sqlite3.Connection:
        """Hold the file's write lock until the connection that is returned is closed."""
        assert self.file
        holder = sqlite3.connect(
            self.file, timeout=PATIENCE, isolation_level=None, check_same_thread=False
        )
        holder.execute("BEGIN IMMEDIATE")
        return holder


@contextmanager
def sqlite(folder: Path) -> Iterator[Backend]:
    file = folder / "queued.db"
    yield Backend(f"sqlite:///{file}", frozenset({"file"}), file=file)


def _redis(
    start: Callable[..., Server], fsync: str
) -> Callable[[Path], AbstractContextManager[Backend]]:
    @contextmanager
    def backend(folder: Path) -> Iterator[Backend]:
        with running(start(folder, "--appendonly", "yes", "--appendfsync", fsync)) as server:
            yield Backend(server.url, frozenset({"server", "redis"}), server)

    return backend


@contextmanager
def postgresql(_: Path) -> Iterator[Backend]:
    with running_postgresql() as server:
        yield Backend(server.url, frozenset({"server", "postgresql"}), server)


BACKENDS: dict[str, Callable[[Path], AbstractContextManager[Backend]]] = {
    "sqlite": sqlite,
    "valkey": _redis(start_valkey, "everysec"),
    "valkey-always": _redis(start_valkey, "always"),
    "redis7": _redis(start_redis, "always"),
    "postgresql": postgresql,
}


def available() -> list[str]:
    """Return the back-ends whose servers this machine has."""
    missing = {"redis7": not redis_program(), "postgresql": not program("postgres")}
    return [name for name in BACKENDS if not missing.get(name)]
