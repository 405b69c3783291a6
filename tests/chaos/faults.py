"""The faults of the soak. Each writes itself to the ledger: from when to when, and whom it hits.

What a fault claims to hit is all that may run again for it. Most claim nobody: no kill of a
monitor, no restart of a server and no orderly stop is a reason for a second run.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

import redis

from tests.chaos.ledger import Fault
from tests.chaos.stage import CONFIG, QUEUES, Stage, killed
from tests.contract.postgresql import Postgresql
from tests.contract.servers import Server
from tests.process.harness import PATIENCE

Inject = Callable[[Stage, Random, str], Awaitable[None]]
Find = Callable[[], Awaitable[Sequence[int]]]
NOBODY = frozenset[int]()
WORKER_KILLS = ("worker killed", "two workers killed")
"""Those that must cut jobs short, or a soak proves nothing."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to break something."""

    name: str
    inject: Inject
    weight: float
    group: str = ""
    """Which back-ends suffer it (see ``Backend.suffers``); empty: all."""


KINDS: dict[str, Kind] = {}


def kind(name: str, weight: float = 1.0, group: str = "") -> Callable[[Inject], Inject]:
    def add(inject: Inject) -> Inject:
        KINDS[name] = Kind(name, inject, weight, group)
        return inject

    return add


def kinds_for(stage: Stage) -> list[Kind]:
    """Return the faults that the back-end of a stage can suffer, and how often is their weight."""
    return [
        one
        for one in KINDS.values()
        if one.weight and (not one.group or one.group in stage.backend.suffers)
    ]


async def _hit(find: Find, chance: Random, signum: int, count: int = 1) -> tuple[list[int], float]:
    """Send a signal to processes, once there are so many; return whom it reached, and when.

    One that is gone already is not reached: its death is another fault's.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        pids = await find()
        if len(pids) >= count:
            began = time.monotonic()
            hit = [pid for pid in chance.sample(pids, count) if killed(pid, signum)]
            if hit:
                return hit, began
        await asyncio.sleep(0.05)
    return [], deadline


# workers


@kind("worker killed", 6)
async def kill_worker(stage: Stage, chance: Random, name: str) -> None:
    await _kill_workers(stage, chance, name, 1)


@kind("two workers killed", 1)
async def kill_two(stage: Stage, chance: Random, name: str) -> None:
    await _kill_workers(stage, chance, name, 2)


async def _kill_workers(stage: Stage, chance: Random, name: str, count: int) -> None:
    hit, began = await _hit(partial(stage.victims, count), chance, signal.SIGKILL, count)
    if hit:
        await stage.gone(hit)
        stage.ledger.add(Fault(name, began, time.monotonic(), frozenset(hit)))


@kind("worker stands still", 1)
async def stop_worker(stage: Stage, chance: Random, name: str) -> None:
    hit, began = await _hit(stage.workers, chance, signal.SIGSTOP)
    for victim in hit:
        await asyncio.sleep(chance.uniform(0.1, 2.0))
        killed(victim, signal.SIGCONT)
        stage.ledger.add(Fault(name, began, time.monotonic(), frozenset(hit)))


# the daemon's other processes


@kind("monitor killed", 2)
async def kill_monitor(stage: Stage, chance: Random, name: str) -> None:
    await _kill_other(stage, chance, name, stage.monitor)


@kind("template killed")
async def kill_template(stage: Stage, chance: Random, name: str) -> None:
    await _kill_other(stage, chance, name, stage.template)


async def _kill_other(stage: Stage, chance: Random, name: str, find: Find) -> None:
    """Kill a process that runs no jobs."""
    hit, began = await _hit(find, chance, signal.SIGKILL)
    if hit:
        await stage.gone(hit)
        stage.ledger.add(Fault(name, began, time.monotonic(), NOBODY))


@kind("master killed")
async def kill_master(stage: Stage, chance: Random, name: str) -> None:
    with stage.ledger.fault(name):
        pids = stage.daemon.processes()
        stage.daemon.signal(signal.SIGKILL)
        await stage.gone(pids)
    await asyncio.to_thread(stage.daemon.wait)
    await stage.start()


@kind("stopped and started")
async def stop_and_start(stage: Stage, chance: Random, name: str) -> None:
    with stage.ledger.fault(name, NOBODY):
        stage.daemon.signal(signal.SIGTERM)
        await asyncio.to_thread(stage.daemon.wait)
    await stage.start()


@kind("stopped twice and started", 0.5)
async def stop_twice(stage: Stage, chance: Random, name: str) -> None:
    with stage.ledger.fault(name):  # the second one does not wait for the jobs
        stage.daemon.signal(signal.SIGTERM)
        await asyncio.sleep(chance.uniform(0.0, 0.1))
        stage.daemon.signal(signal.SIGTERM)
        await asyncio.to_thread(stage.daemon.wait)
    await stage.start()


@kind("host lost", 0)
async def lose_host(stage: Stage, chance: Random, name: str) -> None:
    """Kill a second daemon as a whole; the first one finds out by the lease alone."""
    host = stage.another_host()
    try:
        await stage.start(host)
        await asyncio.sleep(chance.uniform(1.0, 6.0))
        pids = await stage.workers(host)
        with stage.ledger.fault(name, pids):
            host.clean_up()
    finally:
        host.clean_up()


# orders


@kind("scaled")
async def scale(stage: Stage, chance: Random, name: str) -> None:
    with stage.ledger.fault(name, NOBODY):
        await stage.ask("scale", pool=chance.choice(QUEUES), processes=chance.randint(1, 3))


@kind("reloaded")
async def reload(stage: Stage, chance: Random, name: str) -> None:
    concurrency = chance.randint(5, 30)
    config = CONFIG.format(connection=stage.backend.url, concurrency=concurrency)
    with stage.ledger.fault(name, NOBODY):
        stage.daemon.config.write_text(config)
        await stage.ask("reload")


@kind("restarted", 0.5)
async def restart(stage: Stage, chance: Random, name: str) -> None:
    with stage.ledger.fault(name, NOBODY):
        await stage.ask("restart")


# servers


@kind("server killed", 2, group="server")
async def kill_server(stage: Stage, chance: Random, name: str) -> None:
    server = stage.backend.server
    assert server
    with stage.ledger.fault(name, NOBODY, outage=True):
        kill = server.kill_when_written if isinstance(server, Server) else server.kill
        await asyncio.to_thread(kill)
        await asyncio.sleep(chance.uniform(0.0, 1.0))
        await asyncio.to_thread(server.start)


@kind("server restarted", group="server")
async def restart_server(stage: Stage, chance: Random, name: str) -> None:
    server = stage.backend.server
    assert server
    with stage.ledger.fault(name, NOBODY, outage=True):
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)


@kind("server stands still", group="server")
async def pause_server(stage: Stage, chance: Random, name: str) -> None:
    server = stage.backend.server
    assert server
    with stage.ledger.fault(name, NOBODY, outage=True):
        server.pause()
        await asyncio.sleep(chance.uniform(1.0, 3.0))
        server.resume()


# Redis and Valkey


@kind("connections reset", 2, group="redis")
async def reset_connections(stage: Stage, chance: Random, name: str) -> None:
    with stage.ledger.fault(name, NOBODY, outage=True):
        await _command(stage, "CLIENT", "KILL", "TYPE", "normal")


@kind("scripts forgotten", group="redis")
async def flush_scripts(stage: Stage, chance: Random, name: str) -> None:
    with stage.ledger.fault(name, NOBODY):
        await _command(stage, "SCRIPT", "FLUSH")


@kind("read-only replica", group="redis")
async def demote(stage: Stage, chance: Random, name: str) -> None:
    with stage.ledger.fault(name, NOBODY, outage=True):
        await _command(stage, "REPLICAOF", "127.0.0.1", "1")  # nobody answers there
        await asyncio.sleep(chance.uniform(0.2, 1.5))
        await _command(stage, "REPLICAOF", "NO", "ONE")


@kind("out of memory", group="redis")
async def exhaust_memory(stage: Stage, chance: Random, name: str) -> None:
    with stage.ledger.fault(name, NOBODY, outage=True):
        await _command(stage, "CONFIG", "SET", "maxmemory", "100kb")
        await asyncio.sleep(chance.uniform(0.2, 1.5))
        await _command(stage, "CONFIG", "SET", "maxmemory", "0")


@kind("busy with a script", group="redis")
async def busy(stage: Stage, chance: Random, name: str) -> None:
    loop = """
        local function now() local t = redis.call('TIME'); return t[1] * 1e6 + t[2] end
        local till = now() + tonumber(ARGV[1]) * 1e6
        while now() < till do end
    """
    with stage.ledger.fault(name, NOBODY, outage=True):
        await _command(stage, "CONFIG", "SET", "busy-reply-threshold", "100")
        await _command(stage, "EVAL", loop, "0", str(chance.uniform(0.3, 1.5)))


async def _command(stage: Stage, *words: str) -> None:
    def run() -> None:
        with stage.backend.client() as client:
            try:
                client.execute_command(*words)
            except redis.ConnectionError:  # it was ours that was reset
                client.ping()

    await asyncio.to_thread(run)


# PostgreSQL


@kind("sessions ended", 2, group="postgresql")
async def end_sessions(stage: Stage, chance: Random, name: str) -> None:
    server = stage.backend.server
    assert isinstance(server, Postgresql)
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
    with stage.ledger.fault(name, NOBODY, outage=True):
        await asyncio.to_thread(server.run, f"{others} AND backend_type = 'client backend'")


# SQLite


@kind("file locked", 4, group="file")
async def lock_file(stage: Stage, chance: Random, name: str) -> None:
    with stage.ledger.fault(name, NOBODY, outage=True):
        holder = await asyncio.to_thread(stage.backend.lock)
        try:
            await asyncio.sleep(chance.uniform(0.5, 6.0))
        finally:
            holder.close()
