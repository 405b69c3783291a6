"""Chains and batches over a real daemon whose workers are killed at random."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from queued import Link, batch, chain
from queued.drivers import driver_for
from queued.drivers.base import Ack, QueueStats
from queued.drivers.sequel import Batch
from queued.jobs.queue import Queue
from tests.process import chain_jobs
from tests.process.chain_jobs import Breaks, Step
from tests.process.harness import PATIENCE, Daemon, until

JOBS = Path(chain_jobs.__file__).read_text()
QUEUES = ("one", "two", "three")
HOME = "home"
CONFIG = """
connection: "{connection}"
imports: [work]
http: {{listen: "127.0.0.1:0"}}
defaults: {{sleep: 1, concurrency: 2}}
queues:
  one: {{processes: 2}}
  two: {{}}
  three: {{}}
  home: {{}}
"""
CHAINS = 30
LINKS = 6
BATCHES = 5
MEMBERS = 12
KILLS = 12

T = TypeVar("T")


def started(daemon: Callable[..., Daemon], connection: str, tmp_path: Path) -> Daemon:
    files = {"LEDGER": str(tmp_path / "ledger"), "MENDED": str(tmp_path / "mended")}
    return daemon(CONFIG.format(connection=connection), jobs=JOBS, **files).start()


def lines(tmp_path: Path) -> list[tuple[str, str, int]]:
    """Return what the jobs have written: begin or end, whose, which; in the order of time."""
    ledger = tmp_path / "ledger"
    words = [line.split() for line in ledger.read_text().splitlines()] if ledger.exists() else []
    return [(one[0], one[1], int(one[2])) for one in words if len(one) == 3]


def ask(connection: str, question: Callable[[Queue], Awaitable[T]]) -> T:
    async def answer() -> T:
        async with Queue(connection) as queue:
            return await question(queue)

    return asyncio.run(answer())


def stats(connection: str) -> dict[str, QueueStats]:
    async def answer() -> dict[str, QueueStats]:
        driver = driver_for(connection)
        await driver.open()
        try:
            return dict(await driver.stats([*QUEUES, HOME]))
        finally:
            await driver.close()

    return asyncio.run(answer())


def progress(connection: str, batch_id: str) -> Batch:
    async def found(queue: Queue) -> Batch:
        one = await queue.batch(batch_id)
        assert one is not None
        return one

    return ask(connection, found)


def all_over(connection: str) -> dict[str, QueueStats] | None:
    """Return the counts of all queues once nothing waits, runs or is under way."""
    now = stats(connection)
    left = any(one.size or one.reserved or one.outbox for one in now.values())
    return None if left else now


async def dispatch_all(queue: Queue) -> list[str]:
    """Dispatch many chains and batches over all queues; return the ids of the batches."""
    for number in range(CHAINS):
        links = [
            Link(Step(work=f"chain{number}", number=n), queue=QUEUES[(number + n // 2) % 3])
            for n in range(LINKS)
        ]
        await chain(links).dispatch(queue)
    ids = []
    for number in range(BATCHES):
        members: list[Any] = [
            Link(Step(work=f"batch{number}", number=n), queue=QUEUES[n % 3])
            for n in range(MEMBERS - 1)
        ]
        last = [
            Link(Step(work=f"batch{number}", number=MEMBERS + n), queue=QUEUES[n]) for n in (0, 1)
        ]
        made = batch([*members, chain(last)])
        for name in ("then", "catch", "finally_"):
            callback = Link(Step(work=f"{name}{number}"), queue=HOME)
            made = getattr(made, name)(callback)
        ids.append((await made.dispatch(queue)).id)
    return ids


def kill_workers(one: Daemon, connection: str, seed: int) -> int:
    """Kill a worker at random, again and again; return how many."""
    chance = random.Random(seed)
    killed = 0
    deadline = time.monotonic() + PATIENCE
    while killed < KILLS and time.monotonic() < deadline and all_over(connection) is None:
        pids = [worker["pid"] for worker in one.workers() if worker["pid"]]
        if pids:
            try:
                os.kill(chance.choice(pids), signal.SIGKILL)
            except ProcessLookupError:
                continue
            killed += 1
        time.sleep(chance.uniform(0.02, 0.15))
    return killed


def test_every_chain_and_batch_ends_although_workers_are_killed(
    daemon: Callable[..., Daemon], connection: str, tmp_path: Path
) -> None:
    one = started(daemon, connection, tmp_path)
    batches = ask(connection, dispatch_all)
    assert kill_workers(one, connection, seed=7) > 3
    after = until(lambda: all_over(connection), "everything to end", seconds=3 * PATIENCE)

    assert [one.failed for one in after.values()] == [0] * 4
    jobs = CHAINS * LINKS + BATCHES * (MEMBERS + 1)
    assert sum(after[name].enqueued_total for name in QUEUES) == jobs  # each link once
    assert after[HOME].enqueued_total == 2 * BATCHES  # then and finally, once each; no catch
    for batch_id in batches:
        found = progress(connection, batch_id)
        assert (found.done, found.pending, found.finished) == (MEMBERS, 0, True)

    written = lines(tmp_path)
    first: dict[tuple[str, str, int], int] = {}
    ends: defaultdict[str, set[int]] = defaultdict(set)
    for when, (word, work, number) in enumerate(written):
        first.setdefault((word, work, number), when)
        if word == "end":
            ends[work].add(number)
    for number in range(CHAINS):
        work = f"chain{number}"
        assert ends[work] == {*range(LINKS)}
        for link in range(1, LINKS):
            assert first["end", work, link - 1] < first["begin", work, link]
    for number in range(BATCHES):
        members = [first["end", f"batch{number}", n] for n in ends[f"batch{number}"]]
        assert len(members) == MEMBERS + 1
        assert max(members) < first["begin", f"then{number}", 0]
        assert ("begin", f"catch{number}", 0) not in first


def test_a_broken_chain_and_a_batch_with_a_failure_are_mended_by_an_operator(
    daemon: Callable[..., Daemon], connection: str, tmp_path: Path
) -> None:
    one = started(daemon, connection, tmp_path)

    async def dispatched(queue: Queue) -> tuple[list[str], str, list[str]]:
        broken = chain(
            [
                Link(Step(work="chain"), queue="one"),
                Link(Breaks(work="break"), queue="two"),
                Link(Step(work="rest"), queue="three"),
            ]
        ).catch(Link(Step(work="oops"), queue=HOME))
        ids = (await broken.dispatch(queue)).ids
        receipt = await (
            batch([Link(Breaks(work="member"), queue="one"), Link(Step(work="x"), queue="two")])
            .then(Link(Step(work="then"), queue=HOME))
            .catch(Link(Step(work="catch"), queue=HOME))
            .dispatch(queue)
        )
        return ids, receipt.id, receipt.ids

    links, batch_id, members = ask(connection, dispatched)
    ended = lambda: {work for word, work, _ in lines(tmp_path) if word == "end"}  # noqa: E731
    until(lambda: ended() >= {"chain", "oops", "x", "catch"}, "what follows the failures")
    until(  # a job is acknowledged after it has written its last line
        lambda: (found := progress(connection, batch_id)).done == found.failed == 1,
        "both members to be counted",
    )
    found = json.loads(one.run("batch", batch_id, "--json").stdout)
    assert (found["failed"], found["done"], found["failed_ids"]) == (1, 1, [members[0]])
    shown = one.run("job", links[1]).stdout
    assert "link 2 of 3" in shown
    assert "chains.step on three" in shown

    (tmp_path / "mended").touch()
    one.run("failed", "retry", links[1])
    one.run("failed", "retry", members[0])
    until(lambda: ended() >= {"break", "rest", "member", "then"}, "what was mended")
    after = until(lambda: all_over(connection), "everything to end")
    assert after[HOME].enqueued_total == 3
    assert progress(connection, batch_id).done == 2


def test_what_a_killed_worker_has_not_forwarded_is_by_the_daemon(
    daemon: Callable[..., Daemon], connection: str, tmp_path: Path
) -> None:
    """The worker acknowledged, and was killed before it forwarded: here the test is that worker."""

    async def acknowledge(queue: Queue) -> None:
        links = [Link(Step(work="chain", number=n), queue=QUEUES[n]) for n in range(2)]
        await chain(links).dispatch(queue)
        driver = await queue.client().driver()
        [held] = (await driver.exchange(QUEUES[0], "killed", want=1)).jobs
        assert (await driver.exchange(QUEUES[0], "killed", [Ack(held.id, held.fence)])).outbox

    ask(connection, acknowledge)
    assert stats(connection)[QUEUES[0]].outbox == 1
    started(daemon, connection, tmp_path)
    until(lambda: ("end", "chain", 1) in lines(tmp_path), "the second link to run")
    until(lambda: all_over(connection), "the outbox to be empty")


def test_what_a_worker_alone_leaves_for_another_queue_gets_there(
    daemon: Callable[..., Daemon], connection: str, tmp_path: Path
) -> None:
    """``queued work`` ends after one job, and has forwarded the next link."""
    one = daemon(CONFIG.format(connection=connection), jobs=JOBS, LEDGER=str(tmp_path / "ledger"))
    links = [Link(Step(work="chain", number=n), queue=QUEUES[n]) for n in range(3)]
    ask(connection, lambda queue: chain(links).dispatch(queue))
    for name in QUEUES:
        one.run("work", "--queue", name, "--max-jobs", "1")
    assert [number for word, _, number in lines(tmp_path) if word == "end"] == [0, 1, 2]
    assert all_over(connection)
