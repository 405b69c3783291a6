"""A real cluster: three primaries, and replicas where a test wants them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import redis
from redis.crc import key_slot

from tests.contract.servers import Server, running
from tests.process.harness import until

SLOTS = 16_384
PRIMARIES = 3
ARGUMENTS = (
    *("--cluster-enabled", "yes", "--cluster-node-timeout", "1500"),
    *("--cluster-require-full-coverage", "no", "--cluster-replica-validity-factor", "0"),
    *("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"),
)


@dataclass
class Cluster:
    """Nodes, the first three of which were made primaries of a third of the slots each."""

    nodes: list[Server]
    login: str = ""

    @property
    def url(self) -> str:
        """Names two nodes: the third is to be found."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:2])
        return f"redis+cluster://{self.login}{hosts}"

    def client(self, node: Server) -> redis.Redis:
        """Return an operator's client of one node."""
        return redis.Redis(port=node.port, password=self.login.strip(":@") or None)

    def ask(self, node: Server, *words: str | int | bytes) -> Any:
        with self.client(node) as client:
            return client.execute_command(*words)

    def dump(self, node: Server, key: bytes) -> bytes | None:
        """Return what a key holds at a node that may not own its slot; None: it is not there."""
        password = self.login.strip(":@") or None
        options = {"password": password, "single_connection_client": True}
        with redis.Redis(port=node.port, **options) as client:
            client.execute_command("ASKING")
            value: bytes | None = client.dump(key)
            return value

    def refusals(self, node: Server) -> int:
        """Return how often a node has sent a client elsewhere, with ASK."""
        with self.client(node) as client:
            asks: dict[str, int] = client.info("errorstats").get("errorstat_ASK", {})
            return int(asks.get("count", 0))

    def id_of(self, node: Server) -> str:
        found: bytes = self.ask(node, "CLUSTER", "MYID")
        return found.decode()

    @property
    def auth(self) -> tuple[str, ...]:
        """What MIGRATE needs to enter the target."""
        return ("AUTH", self.login.strip(":@")) if self.login else ()

    def owner(self, queue: str) -> Server:
        """Return the node of a queue, by what the nodes themselves say."""
        return self.owner_of_key(f"{{{queue}}}")

    def owner_of_key(self, key: str) -> Server:
        slot = key_slot(key.encode())
        for node in self.nodes:
            if node.answers():
                for first, last, primary, *_ in self.ask(node, "CLUSTER", "SLOTS"):
                    if first <= slot <= last:
                        return next(one for one in self.nodes if one.port == primary[1])
        raise LookupError(key)

    def queue_on(self, node: Server, prefix: str = "q") -> str:
        """Return a name for a queue whose keys are on ``node``."""
        return next(name for number in count() if self.owner(name := f"{prefix}{number}") is node)

    def flush(self) -> None:
        for node in self.nodes:
            with contextlib.suppress(redis.ReadOnlyError):
                self.ask(node, "FLUSHALL")

    def settle(self) -> None:
        """Wait until every node knows every other one and who owns what."""
        until(self._is_settled, "the cluster to agree", every=0.05)

    def _is_settled(self) -> bool:
        maps = []
        for node in self.nodes:
            try:
                said = self.ask(node, "CLUSTER", "INFO")
                slots = self.ask(node, "CLUSTER", "SLOTS")
                nodes = self.ask(node, "CLUSTER", "NODES")
            except redis.RedisError:
                return False
            info = said if isinstance(said, dict) else _fields(said)
            if (info["cluster_state"], info["cluster_slots_ok"]) != ("ok", str(SLOTS)):
                return False
            if b"fail" in nodes if isinstance(nodes, bytes) else "fail" in str(nodes):
                return False
            maps.append(sorted((first, last, owner[1]) for first, last, owner, *_ in slots))
        return all(one == maps[0] for one in maps)

    def replicate(self, replica: Server, primary: Server) -> None:
        """Have a node that owns nothing follow another one; return when it is in sync."""
        known = self.id_of(primary)
        until(lambda: known in str(self.ask(replica, "CLUSTER", "NODES")), "the nodes to meet")
        self.ask(replica, "CLUSTER", "REPLICATE", known)
        until(lambda: self.in_sync(replica), "the replica to follow")

    def in_sync(self, replica: Server) -> bool:
        with self.client(replica) as client:
            return bool(client.info("replication").get("master_link_status") == "up")

    def migrate(self, queue: str, target: Server) -> None:
        """Move a queue to another node as redis-cli does: key by key, then the slot."""
        source, slot = self.owner(queue), slot_of(queue)
        self.begin(queue, target)
        while keys := self.ask(source, "CLUSTER", "GETKEYSINSLOT", slot, 100):
            for key in keys:
                address = ("127.0.0.1", target.port, "", 0, 5000, *self.auth, "KEYS", key)
                self.ask(source, "MIGRATE", *address)
        self.finish(queue, target)

    def migrate_atomically(self, queue: str, target: Server) -> None:
        """Have a queue moved by the nodes themselves: Valkey 9."""
        slot = slot_of(queue)
        words = ("SLOTSRANGE", slot, slot, "NODE", self.id_of(target))
        self.ask(self.owner(queue), "CLUSTER", "MIGRATESLOTS", *words)
        until(lambda: self.owner(queue) is target, "the slot to have moved")
        self.settle()

    def begin(self, queue: str, target: Server) -> None:
        """Open a slot for its move."""
        source, slot = self.owner(queue), slot_of(queue)
        self.ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", self.id_of(source))
        self.ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", self.id_of(target))

    def finish(self, queue: str, target: Server) -> None:
        """Give the slot to its new owner."""
        for node in (target, *(one for one in self.nodes if one is not target)):
            self.ask(node, "CLUSTER", "SETSLOT", slot_of(queue), "NODE", self.id_of(target))


def slot_of(queue: str) -> int:
    return key_slot(f"{{{queue}}}".encode())


def _fields(text: bytes) -> dict[str, str]:
    lines = text.decode().split()
    return dict(line.split(":", 1) for line in lines)


@contextlib.contextmanager
def clustered(
    start: Callable[..., Server],
    folder: Path,
    *args: str,
    replicas: int = 0,
    password: str = "",
) -> Iterator[Cluster]:
    """Start the nodes and join them; replicas follow the first ones.

    :param start: ``start_valkey`` or ``start_redis``.
    """
    login = ("--requirepass", password, "--masterauth", password) if password else ()
    with contextlib.ExitStack() as stack:
        made = Cluster([], f":{password}@" if password else "")
        for number in range(PRIMARIES + replicas):
            node = start(folder / f"node-{number}", *ARGUMENTS, *login, *args)
            made.nodes.append(stack.enter_context(running(node)))
            made.ask(node, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        first, *others = made.nodes
        share = -(-SLOTS // PRIMARIES)
        for number, node in enumerate(made.nodes[:PRIMARIES]):
            last = min(SLOTS, (number + 1) * share) - 1
            made.ask(node, "CLUSTER", "ADDSLOTSRANGE", number * share, last)
        for node in others:
            made.ask(first, "CLUSTER", "MEET", "127.0.0.1", node.port)
        for replica, primary in zip(made.nodes[PRIMARIES:], made.nodes, strict=False):
            made.replicate(replica, primary)
        made.settle()
        yield made
