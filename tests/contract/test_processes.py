"""Clients in processes of their own, some of them killed: what was acknowledged stays so."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from queued.drivers.base import MAX_BATCH, Driver
from tests.contract.backends import BACKENDS
from tests.contract.conftest import MakeDriver
from tests.contract.steps import ME, Q, ack, drain, names, push, release, reserve, settle

PEER = Path(__file__).with_name("peer.py")
BATCH = 10  # of a producer; a worker's is 3
TOTAL = 400

shared = [name for name in BACKENDS if name != "memory"]  # which is one process's own
pytestmark = pytest.mark.parametrize("clean_url", shared, indirect=True)

Peer = subprocess.Popen[str]
StartPeer = Callable[..., Peer]


@pytest.fixture
def start(url: str) -> Iterator[StartPeer]:
    with ExitStack() as ends:

        def start_peer(verb: str, *arguments: object) -> Peer:
            command = [sys.executable, str(PEER), verb, url, *map(str, arguments)]
            peer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            ends.enter_context(peer)
            ends.callback(peer.kill)
            return peer

        yield start_peer


def finish(peer: Peer) -> list[str]:
    """Return the ids that the rest of its output acknowledges; it ends well."""
    said, _ = peer.communicate(timeout=60)
    assert peer.returncode == 0
    return said.split()


def kill_after(peer: Peer, lines: int) -> list[str]:
    """Return the ids that it acknowledged before SIGKILL, of which it had no warning."""
    assert peer.stdout
    said = "".join(peer.stdout.readline() for _ in range(lines))
    peer.kill()
    rest, _ = peer.communicate()
    complete = (said + rest).rpartition("\n")[0]  # a line cut short was acknowledged just the same
    return complete.split()


async def test_processes_create_a_new_back_end_at_once(
    start: StartPeer, make_driver: MakeDriver
) -> None:
    peers = [start("produce", number * 100, 100) for number in range(4)]
    assert sorted(job_id for peer in peers for job_id in finish(peer)) == names(400)
    driver = await make_driver()
    assert sorted(await drain(driver)) == names(400)


async def test_processes_share_the_jobs_out(start: StartPeer, driver: Driver) -> None:
    await push(driver, *names(TOTAL))
    peers = [start("work", f"worker-{number}") for number in range(3)]
    assert sorted(job_id for peer in peers for job_id in finish(peer)) == names(TOTAL)
    stats = (await driver.stats([Q]))[Q]
    assert (stats.size, stats.reserved) == (0, 0)


async def test_a_producer_that_is_killed(start: StartPeer, driver: Driver) -> None:
    """What it was told is there; of the batch on its way, all or nothing is."""
    for number, lines in enumerate((1, 3, 8)):
        first = number * 1000
        told = kill_after(start("produce", first, 1000), lines)
        assert len(told) >= lines * BATCH
        jobs = await reserve(driver, MAX_BATCH)
        assert await settle(driver, *map(ack, jobs)) == []
        there = [job.id for job in jobs]
        assert there[: len(told)] == told
        assert len(there) - len(told) in (0, BATCH)


async def test_workers_that_are_killed(start: StartPeer, driver: Driver) -> None:
    """Nothing acknowledged runs again, nothing is lost, and what they held comes back."""
    rng = random.Random(4)
    await push(driver, *names(TOTAL))
    told: list[str] = []
    kills = 4
    for number in range(kills):
        owner = f"worker-{number}"
        told += kill_after(start("work", owner), rng.randrange(1, 12))
        held = await driver.retire(Q, owner)
        assert len(held) <= 3
        assert not {job.id for job in held} & set(told)
        back = [release(job) for job in held]
        assert await settle(driver, *back, owner=owner) == []
    rest = finish(start("work", ME))
    assert not set(rest) & set(told)
    assert len(rest) == len(set(rest))
    untold = set(names(TOTAL)) - set(told) - set(rest)
    assert len(untold) <= 3 * kills  # acknowledged, but it was killed before it could say so
    stats = (await driver.stats([Q]))[Q]
    assert (stats.size, stats.reserved) == (0, 0)
