"""Rows 25, 26 and 47: what a Redis server still knows after a kill, a power loss, a failover.

Power loss is simulated by its effect, an append-only file whose end is missing: what the kernel and
the disk had not stored cannot be taken away from a process on one machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from queued.drivers.base import Charge, NewJob
from queued.drivers.redis import RedisDriver
from queued.errors import DriverUnavailable
from queued.jobs.queue import Queue
from tests.chaos import work
from tests.chaos.hasty import HastyDaemon
from tests.chaos.invariants import broken
from tests.chaos.ledger import WORK, Ledger
from tests.chaos.proxy import Proxy
from tests.contract.redis_steps import SERVERS, opened, start
from tests.contract.servers import IGNORE_XFSZ, Server, free_port, running
from tests.contract.steps import (
    ME,
    OTHER,
    Q,
    ack,
    drain,
    fail,
    ids,
    names,
    push,
    release,
    reserve,
    retry,
    settle,
    until,
)
from tests.process.harness import until as wait_until

SEED = int(os.environ.get("QUEUED_CHAOS_SEED", random.randrange(2**32)))
CUTS = int(os.environ.get("QUEUED_CHAOS_CUTS", "25"))
"""Places at which the file is cut; to try more: QUEUED_CHAOS_CUTS=1000."""
States = dict[str, str]


@pytest.fixture(params=SERVERS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(params=["everysec", "always"])
def policy(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def server(kind: str, policy: str, tmp_path: Path) -> Iterator[Server]:
    args = ("--appendonly", "yes", "--appendfsync", policy)
    with running(start(kind, tmp_path / "server", *args)) as server:
        yield server


@pytest.mark.fault(25)
async def test_what_was_acknowledged_survives_the_kill_of_the_server(server: Server) -> None:
    """Both policies: the file was written before the answer, and the kernel outlives the kill."""
    acknowledged: set[str] = set()

    async def produce(name: str) -> None:
        async with opened(server.url) as driver:
            for number in range(10**6):
                jobs = [NewJob(f"{name}-{number}-{one}", b"x" * 100) for one in range(5)]
                try:
                    await driver.enqueue(Q, jobs)
                except DriverUnavailable:
                    return
                acknowledged.update(job.id for job in jobs)

    for life in range(3):
        wanted = len(acknowledged) + 1000
        producing = [asyncio.create_task(produce(f"{life}{one}")) for one in "abc"]
        while len(acknowledged) < wanted:  # noqa: ASYNC110 - the kill comes in the midst of them
            await asyncio.sleep(0.001)
        await asyncio.to_thread(server.kill_when_written)
        await asyncio.gather(*producing)
        server.start()
    with redis.Redis(port=server.port) as admin:
        assert broken(admin, Q) == []
    async with opened(server.url) as driver:
        done = await drain(driver, want=1000)
    assert len(done) == len(set(done))
    assert acknowledged <= set(done)
    assert len(done) - len(acknowledged) <= 3 * 3 * 5, "more than was under way at the kills"


# power loss


@dataclass(frozen=True, slots=True)
class Step:
    """How long the file was after a call, and where every job was."""

    size: int
    states: States


def file_of(server: Server) -> Path:
    [file] = (server.folder / "appendonlydir").glob("*.incr.aof")
    return file


def states_of(admin: redis.Redis) -> States:
    """Return where each job is, by the keys themselves."""
    where: States = {}
    for name in sorted(admin.keys("queued:*")):
        place = name.decode().split(":")[2] if b"{" in name else ""
        match place:
            case "ready" | "solo":
                found = admin.lrange(name, 0, -1)
            case "scheduled" | "failed":
                found = admin.zrange(name, 0, -1)
            case "held":
                found, place = admin.hkeys(name), name.decode()
            case _:
                found = []
        where.update({id_.decode().lstrip(":"): place for id_ in found})
    return where


async def history(server: Server) -> list[Step]:
    """Let jobs go through every transition; return what was where after each call."""
    with redis.Redis(port=server.port) as admin:
        async with opened(server.url) as driver:
            return [
                Step(file_of(server).stat().st_size, states_of(admin))
                async for _ in transitions(driver)
            ]


async def transitions(driver: RedisDriver) -> AsyncIterator[None]:
    for part in range(3):
        name = f"{part}-".__add__
        await push(driver, *names(9, name("job")))
        yield
        await push(driver, name("soon"), delay=0.001)
        yield
        jobs = await reserve(driver, 8)
        yield
        await settle(driver, ack(jobs[0]), ack(jobs[1]), fail(jobs[2], hook=60))
        yield
        await settle(driver, retry(jobs[3], 3600), retry(jobs[4]), release(jobs[5], Charge.CRASH))
        yield
        third = f"{OTHER}{part}"
        [held] = (await driver.exchange(Q, third, want=1, nonce=1)).jobs
        yield
        await driver.exchange(Q, third, [ack(held)], want=2, nonce=2)
        yield
        await driver.renew(Q, [ME, third], 30)
        yield
        await driver.promote(Q)
        yield
        await driver.requeue(Q, ids(jobs[2:3]))
        yield
        held, kept = await driver.retire(Q, third)
        yield
        await settle(driver, fail(held), release(kept, Charge.CRASH), owner=third)
        yield
        await driver.forget(Q, [held.id])
        yield
        await driver.cancel(Q, jobs[3].id)
        yield


def cuts(steps: list[Step], file: Path) -> list[int]:
    """Choose lengths to cut the file to: around the ends of calls, and anywhere."""
    chance = random.Random(SEED)
    ends = [step.size + by for step in steps for by in (-1, 0, 1)]
    commands = [i for i in range(steps[0].size, steps[-1].size) if _begins(file, i)]
    anywhere = [chance.randint(steps[0].size, steps[-1].size) for _ in range(CUTS)]
    among = [one for one in (*ends, *commands, *anywhere) if steps[0].size <= one]
    return sorted({min(one, steps[-1].size) for one in chance.sample(among, min(CUTS, len(among)))})


def _begins(file: Path, offset: int) -> bool:
    """Whether a command begins there, the commands of one script's group included."""
    return file.read_bytes()[offset - 2 : offset + 1] == b"\r\n*"


@pytest.mark.fault(26)
@pytest.mark.parametrize("policy", ["always"], indirect=True)
async def test_a_file_that_lost_its_end_gives_the_state_of_an_earlier_moment(
    server: Server, tmp_path: Path
) -> None:
    steps = await history(server)
    server.kill()
    whole = file_of(server).read_bytes()
    print(f"seed {SEED}: {len(steps)} calls, {len(whole)} bytes")
    for length in cuts(steps, file_of(server)):
        folder = tmp_path / "cut"
        shutil.copytree(server.folder, folder)
        restored = Server(server.command, folder, free_port())
        os.truncate(file_of(restored), length)
        with running(restored.start()), redis.Redis(port=restored.port) as admin:
            assert broken(admin, Q) == [], f"cut to {length} bytes"
            check_states(steps, length, states_of(admin))
            await all_can_be_settled(restored.url)
        shutil.rmtree(folder)


def check_states(steps: list[Step], length: int, found: States) -> None:
    """Each job is where it was after the last call that is whole, or in the midst of the next."""
    last = max(index for index, step in enumerate(steps) if step.size <= length)
    before, after = steps[last].states, steps[min(last + 1, len(steps) - 1)].states
    for job_id in before.keys() | after.keys() | found.keys():
        place = found.get(job_id)
        allowed = {before.get(job_id), after.get(job_id)}
        assert place in allowed, f"cut to {length} bytes: {job_id} is in {place}, not {allowed}"


async def all_can_be_settled(url: str) -> None:
    """No reservation is without its payload: who takes over an owner gets all that it held."""
    async with opened(url) as driver:
        reserved = (await driver.stats([Q]))[Q].reserved
        held = [job for owner in await driver.owners(Q) for job in await driver.retire(Q, owner)]
        assert len(held) == reserved


@pytest.mark.fault(26)
@pytest.mark.parametrize("policy", ["everysec"], indirect=True)
async def test_the_loss_is_not_more_than_the_cut(server: Server) -> None:
    cut = 10_000
    count = 2_000
    async with opened(server.url) as driver:
        for part in range(count // 10):
            await push(driver, *names(10, f"job-{part:03}"))
    server.kill_when_written()
    file = file_of(server)
    size = file.stat().st_size
    os.truncate(file, size - cut)
    server.start()
    with redis.Redis(port=server.port) as admin:
        assert broken(admin, Q) == []
    async with opened(server.url) as driver:
        done = await drain(driver, want=1000)
    lost = count - len(done)
    print(f"{lost} of {count} jobs lost for {cut} of {size} bytes")
    pushed = [name for part in range(count // 10) for name in names(10, f"job-{part:03}")]
    assert done == pushed[: len(done)], "what is left is what came first, whole and in order"
    assert 0 < lost <= cut / size * count + 10


# failover


@dataclass(frozen=True, slots=True)
class Pair:
    """A primary and its replica; the link between them and the clients' way are proxies."""

    primary: Server
    replica: Server
    link: Proxy
    clients: Proxy

    async def in_sync(self) -> None:
        with (
            redis.Redis(port=self.primary.port) as primary,
            redis.Redis(port=self.replica.port) as replica,
        ):

            async def same() -> bool:
                there, here = primary.info("replication"), replica.info("replication")
                return (
                    here.get("master_link_status") == "up"
                    and here["slave_repl_offset"] == there["master_repl_offset"]
                )

            await until(same)

    def fail_over(self) -> None:
        """Kill the primary, promote the replica, lead the clients there."""
        self.primary.kill()
        with redis.Redis(port=self.replica.port) as replica:
            replica.execute_command("REPLICAOF", "NO", "ONE")
        self.clients.target = self.replica.port


@pytest.fixture
def pair(kind: str, tmp_path: Path) -> Iterator[Pair]:
    quick = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
    with (
        running(start(kind, tmp_path / "primary", *quick)) as primary,
        Proxy(primary.port) as link,
        running(
            start(kind, tmp_path / "replica", *quick, "--replicaof", f"127.0.0.1 {link.port}")
        ) as replica,
        Proxy(primary.port) as clients,
    ):
        yield Pair(primary, replica, link, clients)


@pytest.mark.fault(47)
async def test_a_failover_loses_what_was_not_replicated_and_nothing_else(pair: Pair) -> None:
    async with opened(pair.clients.url) as producer, opened(pair.clients.url) as worker:
        await push(producer, *names(20, "replicated"))
        done, mine, kept = await reserve(worker, 3)
        await settle(worker, ack(done))
        await pair.in_sync()
        pair.link.dropping = True  # asynchronous: acknowledged all the same
        await push(producer, *names(7, "not-replicated"))
        await settle(worker, ack(mine))
        taken = await reserve(worker, 4)
        pair.fail_over()
        with pytest.raises(DriverUnavailable):
            await push(producer, "during")
        with redis.Redis(port=pair.replica.port) as admin:
            assert broken(admin, Q) == []
        assert await worker.held(Q, ME) == {mine.id: mine.fence, kept.id: kept.fence}
        # What the replica knows of is settled; what it does not is stale, and changes nothing.
        answer = await worker.exchange(Q, ME, map_ack := [ack(kept), *map(ack, taken)])
        assert answer.lost == [one.id for one in map_ack[1:]]
        [ghost] = await worker.retire(Q, ME)
        assert ghost == mine
        await settle(worker, release(ghost))
        left = await drain(producer, owner=OTHER)
    assert sorted(left) == sorted(set(names(20, "replicated")) - {done.id, kept.id})


@pytest.mark.fault(47)
async def test_no_reservation_is_left_of_a_settlement_that_a_failover_forgot(
    pair: Pair, tmp_path: Path
) -> None:
    """The worker lives on, with its lease: only it can find what it holds and is done with."""
    with contextlib.ExitStack() as stack:
        ledger = stack.enter_context(contextlib.closing(Ledger(tmp_path / "ledger")))
        config = f"""
            connection: "{pair.clients.url}"
            imports: [work]
            http: false
            queues: {{default: {{processes: 1, concurrency: 3, sleep: 600}}}}
        """
        (tmp_path / "daemon").mkdir()
        host = HastyDaemon(tmp_path / "daemon", config, jobs=WORK, **ledger.environment)
        stack.callback(host.clean_up)
        host.start(ready=False)
        async with Queue(pair.clients.url) as producer:
            cut, found = tmp_path / "cut", tmp_path / "found"
            short = (await producer.push(work.Waits(path=str(cut)))).id
            across = (await producer.push(work.Waits(path=str(found)))).id
            await asyncio.to_thread(wait_until, lambda: len(ledger.runs()) == 2, "both to run")
            await pair.in_sync()
            pair.link.dropping = True
            cut.touch()

            async def is_settled() -> bool:
                return (await producer.stats()).reserved == 1

            await until(is_settled)  # and the replica will never hear of it
            pair.fail_over()

            async def is_empty() -> bool:
                stats = await producer.stats()
                return stats.reserved == stats.ready == 0

            await asyncio.to_thread(wait_until, lambda: len(ledger.runs()[short]) == 2, "a ghost")
            found.touch()
            await until(is_empty)
        assert [run.done for run in ledger.runs()[short]] == [True, True]
        assert [run.done for run in ledger.runs()[across]] == [True]
        assert "settlements.forgotten" in host.output()
    with redis.Redis(port=pair.replica.port) as admin:
        assert broken(admin, "default") == []


@pytest.mark.fault(34)
async def test_a_full_disk_costs_the_last_calls_with_everysec_and_none_with_always(
    kind: str, policy: str, tmp_path: Path
) -> None:
    """Then the server dies as well. ``always``: it ends itself rather than to break its promise.

    ``everysec``: what it answered before it tried to write is gone, the last calls in a row.
    """
    args = ("--appendonly", "yes", "--appendfsync", policy)
    with running(start(kind, tmp_path / "server", *args)) as server:
        server.stop()
        plain = server.command
        server.command = [sys.executable, "-c", IGNORE_XFSZ, *plain]
        server.start()
        assert server.process
        infinite = resource.RLIM_INFINITY
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (32 * 1024, infinite))
        acknowledged: list[str] = []
        async with opened(server.url) as driver:
            with pytest.raises(DriverUnavailable) as caught:  # noqa: PT012
                for name in names(500):
                    await driver.enqueue(Q, [NewJob(name, b"x" * 300)])
                    acknowledged.append(name)
        assert caught.match(
            "cannot write to its disk" if policy == "everysec" else "reached|closed"
        )
        server.kill()
        server.command = plain
        server.start()
        async with opened(server.url) as driver:
            kept = await drain(driver)
        lost = [name for name in acknowledged if name not in set(kept)]
        print(f"{policy}: {len(acknowledged)} acknowledged, {len(lost)} lost")
        assert len(acknowledged) > 20
        assert lost == (acknowledged[-len(lost) :] if lost and policy == "everysec" else [])
