"""Row 35: the wall clock is an hour off, or jumps by one while everything runs (libfaketime).

Timeouts, deadlines and heartbeats are monotonic, which libfaketime leaves alone here, as a real
jump does. Leases and delays follow the back-end's clock: its server's, or for SQLite the machine's.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from queued.jobs.queue import Queue
from tests.chaos import work
from tests.chaos.hasty import LEASE, ROOT, HastyDaemon
from tests.chaos.ledger import WORK, Ledger
from tests.chaos.oracle import verdict
from tests.contract.backends import unavailable
from tests.contract.redis_steps import SERVERS, start
from tests.contract.servers import running
from tests.process.conftest import daemon  # noqa: F401 - a fixture
from tests.process.harness import PATIENCE, Daemon, until

HOUR = 3600

SLEEP = """
import select, time
time.sleep = lambda seconds: select.select((), (), (), seconds) and None
"""
"""libfaketime 0.9.10 misreckons the clock_nanosleep of Python 3.11, which is monotonic too."""

JOBS = (
    WORK
    + """

class Overruns(Job):
    name = "chaos.overruns"
    timeout = 1.0
    max_tries = 1

    async def handle(self) -> None:
        note(self, "begin")
        note(self, "error")
        await asyncio.sleep(3600)
"""
)
CONFIG = """
connection: "{connection}"
imports: [work]
http: {{listen: "127.0.0.1:0"}}
defaults: {{timeout: 30}}
queues:
  default: {{processes: 1, concurrency: {concurrency}, sleep: 600}}
"""


class Clock:
    """A wall clock for the processes that are started with its ``environment``."""

    def __init__(self, folder: Path) -> None:
        found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        if not found:
            unavailable("libfaketime is not installed")
        self._file = folder / "faketime"
        (folder / "sitecustomize.py").write_text(SLEEP)
        self.set(0)
        self.environment = {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "PYTHONPATH": f"{folder}:{ROOT}",
        }

    def set(self, seconds: int) -> None:
        """Set it so far ahead of the true time."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self._file)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with contextlib.closing(Ledger(tmp_path / "ledger")) as ledger:
        yield ledger


def ended(ledger: Ledger, ids: list[str]) -> Callable[[], bool]:
    return lambda: {id_ for word, id_, *_ in ledger.lines() if word == "end"} >= set(ids)


@pytest.mark.fault(35)
@pytest.mark.parametrize("kind", SERVERS)
async def test_a_daemon_whose_clock_is_wrong_works_as_any_other(
    kind: str,
    clock: Clock,
    ledger: Ledger,
    daemon: Callable[..., Daemon],  # noqa: F811
    tmp_path: Path,
) -> None:
    """The daemon's clock only: it starts an hour ahead, and falls two hours back as jobs run."""
    with running(start(kind, tmp_path / "server")) as server:
        clock.set(HOUR)
        config = CONFIG.format(connection=server.url, concurrency=5)
        host = daemon(config, jobs=JOBS, **ledger.environment, **clock.environment)
        host.start()
        pids = {worker["pid"] for worker in host.workers()}
        async with Queue(server.url) as producer:
            for offset in (HOUR, -HOUR):
                ids = [(await producer.push(work.Sleeps(seconds=1))).id for _ in range(3)]
                ids += [(await producer.push(work.Quick(), delay=one)).id for one in (0.3, 1)]
                ledger.acknowledge(ids, "sleeps")
                late = (await producer.push(work.Quick(), delay=HOUR / 2)).id
                job = host.run("dispatch", "chaos.overruns", "{}").stdout
                await asyncio.to_thread(until, lambda: "begin" in ledger.runs_path.read_text(), job)
                clock.set(-HOUR)
                await asyncio.to_thread(until, ended(ledger, ids), f"all at {offset:+d} s")
                assert late not in ledger.runs()
                assert await producer.size() >= 1
        until(lambda: host.output().count("ran longer than its timeout") >= 2, "both timeouts")
        assert {worker["pid"] for worker in host.workers()} == pids
        assert host.is_ready()
        for runs in ledger.runs().values():
            assert len(runs) == 1


@pytest.mark.fault(35)
@pytest.mark.parametrize("kind", ["sqlite", "valkey"])
async def test_a_clock_that_jumps_under_everything_ends_no_living_lease(
    kind: str, clock: Clock, ledger: Ledger, tmp_path: Path
) -> None:
    """The clock of the whole machine: two daemons, either of which could reap the other's jobs.

    Not with Redis 7: Debian's is built with jemalloc, under which libfaketime cannot start.
    """
    with contextlib.ExitStack() as stack:
        url = f"sqlite:///{tmp_path}/queued.db"
        if kind != "sqlite":
            server = stack.enter_context(running(start(kind, tmp_path / "server")))
            server.stop()
            variables = [f"{name}={value}" for name, value in clock.environment.items()]
            server.command = ["env", *variables, *server.command]
            url = server.start().url
        hosts = []
        for name in "ab":
            (tmp_path / name).mkdir()
            config = CONFIG.format(connection=url, concurrency=3)
            environment = {**ledger.environment, **clock.environment}
            host = HastyDaemon(tmp_path / name, config, jobs=WORK, **environment)
            stack.callback(host.clean_up)
            hosts.append(host.start(ready=False))
        async with Queue(url) as producer:
            jobs = [work.Sleeps(seconds=2.5 * LEASE) for _ in range(6)]
            ids = [receipt.id for receipt in await producer.bulk(jobs)]
            ledger.acknowledge(ids, "sleeps")
            await asyncio.to_thread(until, lambda: len(ledger.runs()) == 6, "the jobs to run")
            assert len({runs[0].pid for runs in ledger.runs().values()}) == 2
            running_from = time.monotonic()
            for jump, offset in enumerate((HOUR, 2 * HOUR, 3 * HOUR, -HOUR), 1):
                clock.set(offset)  # while the next look of the other's reaper comes up
                await asyncio.sleep(running_from + jump * LEASE / 2 - time.monotonic())
        found = await verdict(url, ["default"], ledger, PATIENCE)
        assert found.broken == []
        assert (found.done, found.duplicates) == (6, 0)
        for host in hosts:
            assert "owner.lost" not in host.output()
            assert "jobs.reclaimed" not in host.output()
