"""The main job of queued: queue.yaml in, running pools and metrics out, and nothing lost.

A daemon with three different queues, ten thousand jobs dispatched while it runs, workers killed at
random meanwhile, then SIGTERM.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from queued.jobs.queue import Queue
from tests.process.harness import Daemon, until

JOBS = """
import asyncio, os, time
from queued import Fail, Job, Retry

LEDGER = os.environ["LEDGER"]


def note(job, what):
    line = f"{what} {job.job_id} {job.attempts} {os.getpid()} {time.time()}\\n".encode()
    fd = os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, line)
    os.close(fd)


class Quick(Job):
    queue = "fast"
    number: int

    async def handle(self):
        note(self, "done")


class Slow(Job):
    queue = "slow"
    number: int

    async def handle(self):
        await asyncio.sleep(0.02)
        note(self, "done")


class Threaded(Job):
    queue = "plain"
    retry_after = 0
    number: int

    def handle(self):
        if self.number % 10 == 0 and self.attempts == 1:
            raise ValueError("the first run fails")
        if self.number % 97 == 0:
            note(self, "failed")
            raise Fail("never")
        note(self, "done")
"""

CONFIG = """
connection: "{connection}"
imports: [work]
http: {{listen: "127.0.0.1:0"}}
shutdown_grace: 20s
queues:
  fast: {{processes: 2, concurrency: 20, sleep: 1}}
  slow: {{processes: 1, concurrency: 50, sleep: 3, max_tries: 5}}
  plain: {{processes: 1, concurrency: 5, sleep: 10}}
"""

TOTAL = 10_000
KILLS = 25


def values(families: object, sample: str, **labels: str) -> float:
    """Sum the samples of a name whose labels include those given."""
    return sum(
        found.value
        for family in families
        for found in family.samples
        if found.name == sample and labels.items() <= found.labels.items()
    )


async def dispatch_all(
    connection: str, work: dict[str, type], kill: Callable[[], None]
) -> set[str]:
    """Dispatch ten thousand jobs, one at a time and in bulk, with kills in between."""
    producer = Queue()
    producer.connect(connection)
    acknowledged: set[str] = set()
    batch = 50
    for start in range(0, TOTAL, batch):
        kind = work[("Quick", "Slow", "Threaded")[start // batch % 3]]
        jobs = [kind(number=number) for number in range(start, start + batch)]
        if start // batch % 4:
            receipts = await producer.bulk(jobs)
        else:
            receipts = await asyncio.gather(*(producer.push(job) for job in jobs))
        acknowledged |= {receipt.id for receipt in receipts if receipt.enqueued}
        if start % (TOTAL // KILLS) == 0:
            await asyncio.to_thread(kill)
    await producer.close()
    return acknowledged


@pytest.mark.timeout(400)
async def test_ten_thousand_jobs_survive_random_kills(
    connection: str,
    daemon: Callable[..., Daemon],
    tmp_path: Path,
    monkeypatch,
) -> None:
    ledger = tmp_path / "ledger"
    monkeypatch.setenv("LEDGER", str(ledger))
    running = daemon(CONFIG.format(connection=connection), jobs=JOBS, LEDGER=str(ledger))
    running.start()
    monkeypatch.syspath_prepend(str(running.folder))
    sys.modules.pop("work", None)
    import work

    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    killed: list[int] = []

    def kill() -> None:
        pids = [worker["pid"] for worker in running.workers() if worker["pid"]]
        pids = [pid for pid in pids if pid not in killed]  # its death may not be known yet
        if pids:
            victim = chance.choice(pids)
            with contextlib.suppress(ProcessLookupError):  # it died since status was asked
                os.kill(victim, signal.SIGKILL)
                killed.append(victim)

    acknowledged = await dispatch_all(connection, vars(work), kill)
    assert len(acknowledged) == TOTAL
    # A worker killed time and again before it settles a job is in BACKOFF: nobody to kill then.
    assert len(killed) >= KILLS // 5

    observer = Queue()
    observer.connect(connection)

    async def waiting() -> int:
        stats = [await observer.stats(name) for name in ("fast", "slow", "plain")]
        return sum(one.ready + one.scheduled + one.reserved for one in stats)

    for _ in range(1200):
        if not await waiting():
            break
        await asyncio.sleep(0.1)
    assert await waiting() == 0

    failed = sum([(await observer.stats(name)).failed for name in ("fast", "slow", "plain")])
    await observer.close()
    text = until(lambda: settled_metrics(running), "metrics that count every job")
    families = list(parse_text(text))
    assert list(parse_openmetrics(get_openmetrics(running)))

    lines = [line.split() for line in ledger.read_text().splitlines()]
    done = {line[1] for line in lines if line[0] == "done"}
    known_failed = {line[1] for line in lines if line[0] == "failed"}
    assert acknowledged <= done | known_failed
    assert failed == len(known_failed - done)

    # No more second runs than jobs that were begun and not settled when their worker was killed.
    twice = sum(count - 1 for count in Counter(line[1] for line in lines).values())
    assert twice <= len(killed) * 50

    finals = sum(
        values(families, "queued_attempts_total", outcome=outcome)
        for outcome in ("succeeded", "failed")
    )
    assert finals <= TOTAL + twice
    assert values(families, "queued_queue_jobs", state="failed") == failed
    exits = sum(  # on a slow machine a kill may come before its worker was ready
        values(families, "queued_worker_exits_total", reason=reason)
        for reason in ("signal", "boot_error")
    )
    # A worker for suspects may be killed while it ends as planned.
    assert KILLS // 5 <= exits <= len(killed) <= values(families, "queued_worker_exits_total")
    assert values(families, "queued_jobs_enqueued_total") == TOTAL

    assert running.stop() == 0
    until(lambda: not running.processes(), "every process to be gone")


def settled_metrics(running: Daemon) -> str:
    """Return /metrics once the sample in it says that nothing waits."""
    status, text = running.get("/metrics")
    if status != 200:
        return ""
    families = list(parse_text(text))
    waiting = sum(
        values(families, "queued_queue_jobs", state=state)
        for state in ("ready", "scheduled", "reserved")
    )
    return text if waiting == 0 and values(families, "queued_jobs_enqueued_total") == TOTAL else ""


def get_openmetrics(running: Daemon) -> str:
    import urllib.request

    request = urllib.request.Request(
        running.address + "/metrics", headers={"Accept": "application/openmetrics-text"}
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        text: str = answer.read().decode()
    return text
