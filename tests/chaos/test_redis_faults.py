"""A daemon lives through all that can become of its Redis: no job is lost, failed or run twice.

One daemon on one server (each kind of it) suffers fault after fault. Its queue's ``sleep`` is far
longer than any test, so nothing but its own reconnecting brings its workers back to work.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from queued.daemon.master.control_client import ControlClient
from queued.daemon.worker.exchange import MAX_RETRY, retry_pauses
from queued.drivers.redis.link import CALL_WITHIN
from queued.drivers.redis.scripts import scripts
from queued.errors import ControlError, DriverUnavailable
from queued.jobs.job import Job
from queued.jobs.queue import Queue
from tests.chaos import work
from tests.chaos.failover import driver_errors
from tests.chaos.hasty import LEASE, HastyDaemon
from tests.chaos.ledger import WORK, Ledger
from tests.chaos.oracle import verdict
from tests.chaos.proxy import Moment, Proxy
from tests.contract.redis_steps import SERVERS, start
from tests.contract.servers import IGNORE_XFSZ, Server, free_port, running
from tests.process.harness import PATIENCE, Daemon, until

CONFIG = """
connection: "{connection}"
imports: [work]
http: {{listen: "127.0.0.1:0"}}
queues:
  default: {{processes: 2, concurrency: 5, sleep: 600}}
"""
SOON = 15.0
"""Seconds in which work goes on, where 5 s are promised and the machine is loaded."""
CALLS = 100
"""Failed calls of two workers and the monitor in an outage of seconds; who spins makes more."""


class Site:
    """A server, a proxy before it, and a daemon that knows only the proxy."""

    def __init__(self, server: Server, proxy: Proxy, daemon: Daemon, ledger: Ledger) -> None:
        self.server = server
        self.proxy = proxy
        self.daemon = daemon
        self.ledger = ledger
        self._control = ControlClient(daemon.config, daemon.environment)
        until(self._runs, "the daemon to run")
        self.http = f"http://{self._control.request('status', timeout=PATIENCE)['http']}"
        self.workers = daemon.until_staffed()

    def _runs(self) -> bool:
        try:
            status = self._control.request("status", timeout=PATIENCE)
        except ControlError:
            return False
        return bool(status["state"] == "running" and status["driver_up"])

    @contextmanager
    def admin(self) -> Iterator[redis.Redis]:
        with redis.Redis(port=self.server.port, socket_timeout=PATIENCE) as client:
            yield client

    def command(self, *words: str | int) -> Any:
        with self.admin() as admin:
            return admin.execute_command(*words)

    def info(self, section: str, name: str) -> Any:
        with self.admin() as admin:
            return admin.info(section).get(name)

    def pids(self) -> set[int]:
        status = self._control.request("status", timeout=PATIENCE)
        return {one["pid"] for pool in status["pools"].values() for one in pool["workers"]}

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.http + path, timeout=PATIENCE) as answer:
            text: str = answer.read().decode()
            return text

    def errors(self) -> float:
        """Return how many calls of the daemon's processes failed, as they report each second."""
        return driver_errors(self.get("/metrics"))

    async def push(self, producer: Queue, *jobs: Job) -> list[str]:
        receipts = await producer.bulk(jobs)
        ids = [receipt.id for receipt in receipts]
        self.ledger.acknowledge(ids, type(jobs[0]).__name__.lower())
        return ids

    async def push_until_refused(self, producer: Queue, saying: str, at_most: int) -> None:
        """Have the last of so many pushes refused, with this reason; those before are promised."""
        started = time.monotonic()
        with pytest.raises(DriverUnavailable, match=saying) as caught:  # noqa: PT012
            for _ in range(at_most):
                await self.push(producer, work.Quick())
        assert time.monotonic() - started < CALL_WITHIN + SOON
        self.ledger.doubt(caught.value.ids, "quick")

    async def until_words(self, ids: list[str], word: str) -> None:
        def written() -> bool:
            seen = {id_ for said, id_, *_ in self.ledger.lines() if said == word}
            return seen >= set(ids)

        await asyncio.to_thread(until, written, f"{word} of {len(ids)} jobs")

    async def is_whole(self) -> None:
        """Nothing was lost, failed, charged or run again, and no worker had to be replaced."""
        found = await verdict(self.server.url, ["default"], self.ledger, PATIENCE)
        assert found.broken == []
        assert (found.duplicates, found.failed) == (0, 0)
        assert self.pids() == self.workers


@pytest.fixture(scope="module", params=SERVERS)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp(request.param)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(
            running(start(request.param, folder / "server", "--appendonly", "yes"))
        )
        server.stop()
        server.command = [sys.executable, "-c", IGNORE_XFSZ, *server.command]
        server.start()
        proxy = stack.enter_context(Proxy(server.port))
        ledger = stack.enter_context(contextlib.closing(Ledger(folder / "ledger")))
        (folder / "daemon").mkdir()
        config = CONFIG.format(connection=proxy.url)
        daemon = Daemon(folder / "daemon", config, jobs=WORK, **ledger.environment)
        stack.callback(daemon.clean_up)
        yield Site(server, proxy, daemon.start(ready=False), ledger)


async def outlive(
    site: Site, fault: AbstractContextManager[None], saying: str, at_most: int = 1
) -> None:
    """Let jobs end while something is broken; afterwards they are settled, and work goes on."""
    async with Queue(site.proxy.url) as producer:
        ids = await site.push(producer, *[work.Sleeps(seconds=0.7) for _ in range(4)])
        await site.until_words(ids, "begin")
        errors = site.errors()
        with fault:
            await site.push_until_refused(producer, saying, at_most)
            await site.until_words(ids, "end")
            noticed = await asyncio.to_thread(until, lambda: site.errors() - errors, "the errors")
        back = time.monotonic()
        [after] = await site.push(producer, work.Quick())
        await site.until_words([after], "begin")
    assert noticed < CALLS
    assert site.ledger.runs()[after][0].began - back < SOON
    await site.is_whole()


# outages


@pytest.mark.fault(27)
async def test_a_restart(site: Site) -> None:
    @contextmanager
    def restarting() -> Iterator[None]:
        site.server.stop()
        yield
        site.server.start()

    await outlive(site, restarting(), "cannot be reached|closed")


@pytest.mark.fault(27)
async def test_a_restart_while_nothing_runs_leaves_no_worker_deaf(site: Site) -> None:
    """An idle worker waits for a push on a connection that is gone; its next look is far away."""
    await site.is_whole()
    site.server.stop()
    site.server.start()
    async with Queue(site.proxy.url) as producer:
        for _ in range(3):
            [job] = await site.push(producer, work.Quick())
            await site.until_words([job], "end")
    await site.is_whole()


@pytest.mark.fault(27)
def test_the_pauses_between_tries_grow_and_are_random_and_short() -> None:
    bounds: list[tuple[float, float]] = []

    def chosen(low: float, high: float) -> float:
        bounds.append((low, high))
        return high

    pause = retry_pauses(chosen)
    pauses = [pause() for _ in range(12)]
    assert pauses == sorted(pauses)
    assert pauses[0] <= 0.1
    assert pauses[-1] == MAX_RETRY == 1.0
    assert all(low == high / 2 for low, high in bounds)
    real = [[pause() for _ in range(8)] for pause in (retry_pauses() for _ in range(20))]
    assert len({one[-1] for one in real}) == len(real), "no two workers come back together"


@pytest.mark.fault(25)
@pytest.mark.parametrize("policy", ["everysec", "always"])
async def test_the_kill_of_the_server_under_load(site: Site, policy: str) -> None:
    for _ in range(3):
        site.command("CONFIG", "SET", "appendfsync", policy)
        async with Queue(site.proxy.url) as producer:
            await site.push(producer, *[work.Sleeps(seconds=0.02) for _ in range(100)])
            with contextlib.suppress(DriverUnavailable):
                for _ in range(5):
                    await site.push(producer, *[work.Quick() for _ in range(20)])
        site.server.kill_when_written()
        site.server.start()
    await site.is_whole()


async def test_a_server_that_loads_its_data(site: Site) -> None:
    with site.admin() as admin, admin.pipeline(transaction=False) as filling:
        # it looks at clients once a thousand: ten times
        for number in range(10_200):
            filling.set("filler", number)
        filling.execute()

    @contextmanager
    def loading() -> Iterator[None]:
        site.server.kill()
        site.server.command += ["--key-load-delay", "1000"]  # microseconds
        starting = threading.Thread(target=site.server.start)
        starting.start()
        try:
            until(lambda: _first_word(site.server.port) == b"-LOADING", "it to load")
            yield
        finally:
            starting.join()
            del site.server.command[-2:]

    await outlive(site, loading(), "still loading")


def _first_word(port: int) -> bytes:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
            client.sendall(b"PING\r\n")
            return client.recv(64).split()[0]
    except OSError:
        return b""


# refusals


@pytest.mark.fault(28)
async def test_out_of_memory_new_jobs_are_refused_and_the_others_are_done(site: Site) -> None:
    async with Queue(site.proxy.url) as producer:
        ids = await site.push(producer, *[work.Sleeps(seconds=0.3) for _ in range(30)])
        flaky = await site.push(producer, *[work.Flaky(failures=1) for _ in range(3)])
        await site.until_words(ids[:3], "begin")
        site.command("CONFIG", "SET", "maxmemory", 1)
        try:
            await site.push_until_refused(producer, "memory is full", 1)
            await site.until_words([*ids, *flaky], "end")
            await site.is_whole()  # settled while it is full
            assert '"ready":true' in site.get("/readyz")
        finally:
            site.command("CONFIG", "SET", "maxmemory", 0)
        await site.push(producer, work.Quick())
    await site.is_whole()


@pytest.mark.fault(29)
async def test_a_read_only_replica(site: Site) -> None:
    @contextmanager
    def demoted() -> Iterator[None]:
        site.command("REPLICAOF", "127.0.0.1", free_port())  # nobody answers there
        yield
        site.command("REPLICAOF", "NO", "ONE")

    await outlive(site, demoted(), "read-only replica")


@pytest.mark.fault(30)
async def test_busy_with_a_script_that_is_never_killed(site: Site) -> None:
    loop = """
        local function now() local t = redis.call('TIME'); return t[1] + t[2] / 1e6 end
        local till = now() + ARGV[1]
        redis.call('SET', KEYS[1], 'written: it cannot be killed any more')
        while now() < till do end
        return 'to its end'
    """
    answers: list[bytes] = []

    @contextmanager
    def busy() -> Iterator[None]:
        site.command("CONFIG", "SET", "busy-reply-threshold", 100)

        def run() -> None:
            answers.append(site.command("EVAL", loop, 1, "filler", 8))

        looping = threading.Thread(target=run)
        looping.start()
        until(lambda: _first_word(site.server.port) == b"-BUSY", "it to be busy")
        try:
            yield
        finally:
            looping.join()

    await outlive(site, busy(), "busy")
    assert answers == [b"to its end"]
    assert site.info("commandstats", "cmdstat_script|kill") is None


@pytest.mark.fault(31)
async def test_forgotten_scripts_are_loaded_again_and_nobody_notices(site: Site) -> None:
    async with Queue(site.proxy.url) as producer:
        ids = await site.push(producer, *[work.Sleeps(seconds=0.3) for _ in range(8)])
        await site.until_words(ids[:3], "begin")
        said = len(site.daemon.output())
        site.command("CONFIG", "RESETSTAT")
        site.command("SCRIPT", "FLUSH")
        await site.push(producer, work.Quick())
        await site.is_whole()
    loads = site.info("commandstats", "cmdstat_script|load")["calls"]
    clients = len(site.workers) + 1 + 1  # and the monitor, and this producer
    assert loads <= clients * len(scripts()), "once each"
    assert "backend.unreachable" not in site.daemon.output()[said:]


@pytest.mark.fault(34)
async def test_a_disk_that_is_full(site: Site) -> None:
    assert site.server.process
    pid = site.server.process.pid

    @contextmanager
    def full() -> Iterator[None]:
        [file] = (site.server.folder / "appendonlydir").glob("*.incr.aof")
        site.command("CONFIG", "SET", "appendfsync", "everysec")
        infinite = resource.RLIM_INFINITY
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (file.stat().st_size + 50, infinite))
        try:
            yield
        finally:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (infinite, infinite))
        until(lambda: site.info("persistence", "aof_last_write_status") == "ok", "its recovery")

    await outlive(site, full(), "cannot write to its disk", at_most=10)
    site.server.kill_when_written()  # and what was acknowledged on the way is on the disk by now
    site.server.start()
    await site.is_whole()


# the way there


@pytest.mark.fault(32)
@pytest.mark.parametrize("moment", Moment, ids=lambda moment: moment.name.lower())
async def test_connections_reset_in_the_middle_of_an_exchange(site: Site, moment: Moment) -> None:
    async with Queue(site.server.url) as producer:
        for verb in ("reserve", "ack"):
            site.proxy.reset(moment, scripts()[verb].sha.encode(), times=5)
            await site.push(producer, *[work.Sleeps(seconds=0.01) for _ in range(25)])
            await asyncio.to_thread(until, lambda: site.proxy.left == 0, "the resets")
    await site.is_whole()


@pytest.mark.parametrize("site", ["valkey"], indirect=True)
async def test_a_line_that_drops_everything(site: Site) -> None:
    """No answer, no end: a call is given up after its bound, and asked again on a new line."""
    async with Queue(site.server.url) as producer:
        ids = await site.push(producer, *[work.Sleeps(seconds=0.3) for _ in range(6)])
        await site.until_words(ids[:2], "begin")
        errors = site.errors()
        site.proxy.dropping = True
        await asyncio.to_thread(until, lambda: site.errors() > errors, "the errors")
        site.proxy.heal()
        back = time.monotonic()
        [after] = await site.push(producer, work.Quick())
        await site.until_words([after], "begin")
    assert site.ledger.runs()[after][0].began - back < CALL_WITHIN + SOON
    await site.is_whole()


# beyond the lease


@pytest.mark.fault(33)
async def test_a_server_that_stands_still_beyond_the_lease_costs_no_owner_its_jobs(
    tmp_path: Path,
) -> None:
    """Two hosts, each of which could reap the other: when it goes on, every lease has run out."""
    ledger = Ledger(tmp_path / "ledger")
    with running(start("valkey", tmp_path / "server")) as server, contextlib.ExitStack() as stack:
        daemons = []
        for name in "ab":
            (tmp_path / name).mkdir()
            config = CONFIG.format(connection=server.url).replace("processes: 2", "processes: 1")
            host = HastyDaemon(tmp_path / name, config, jobs=WORK, **ledger.environment)
            stack.callback(host.clean_up)
            daemons.append(host.start(ready=False))
        async with Queue(server.url) as producer:
            jobs = [work.Sleeps(seconds=3.5 * LEASE) for _ in range(10)]
            ids = [receipt.id for receipt in await producer.bulk(jobs)]
            ledger.acknowledge(ids, "sleeps")
            began = await asyncio.to_thread(
                until, lambda: len(runs := ledger.runs()) == 10 and runs, "the jobs to run"
            )
            assert len({runs[0].pid for runs in began.values()}) == 2
            server.pause()
            await asyncio.sleep(1.5 * LEASE)  # the fault itself
            with pytest.raises(DriverUnavailable, match="did not answer"):
                await producer.size()
            server.resume()
        found = await verdict(server.url, ["default"], ledger, PATIENCE)
        assert found.broken == []
        assert (found.done, found.duplicates) == (10, 0)
        for host in daemons:
            assert "owner.lost" not in host.output()
    ledger.close()
