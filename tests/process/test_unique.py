"""Unique keys under fire: many producers dispatch the same few keys while workers are killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from queued.jobs.queue import Queue
from tests.contract.backends import BACKENDS
from tests.process.harness import Daemon, until

KEYS, PRODUCERS, EACH, KILLS = 10, 4, 250, 8
JOBS = """
import os, random, time
from queued import Job

def note(*words):
    line = " ".join(map(str, (*words, time.monotonic_ns()))) + "\\n"
    fd = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, line.encode())
    os.close(fd)

class Sync(Job):
    unique_key = "{key}"
    key: int

    def handle(self):
        note(self.key, self.job_id, "start")
        time.sleep(random.uniform(0, 0.03))
        if random.random() < 0.1 and self.attempts == 1:
            note(self.key, self.job_id, "end")
            raise RuntimeError("once more")
        note(self.key, self.job_id, "end")
"""
CONFIG = """
connection: "{url}"
imports: [work]
http: {{listen: "127.0.0.1:0"}}
queues:
  default: {{processes: 2, concurrency: 4, sleep: 0.2}}
"""
PRODUCER = f"""
import json, random, sys, time
from queued import Queue
from work import Sync

queue = Queue(sys.argv[1]).sync
for _ in range({EACH}):
    key = random.randrange({KEYS})
    receipt = queue.push(Sync(key=key))
    print(json.dumps([key, *receipt, time.monotonic_ns()]), flush=True)
    time.sleep(random.uniform(0, 0.02))
"""

AGAIN = f"""
import sys
from queued import Queue
from work import Sync

jobs = [Sync(key=key) for key in range({KEYS})]
print([one.enqueued for one in Queue(sys.argv[1]).sync.bulk(jobs)])
"""


@pytest.fixture(params=["sqlite", "valkey", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "back-end"
    folder.mkdir()
    for clean_url in BACKENDS[request.param](folder):
        yield clean_url()


def produce(folder: Path, url: str) -> list[subprocess.Popen[str]]:
    return [
        subprocess.Popen(
            [sys.executable, "-c", PRODUCER, url], cwd=folder, stdout=subprocess.PIPE, text=True
        )
        for _ in range(PRODUCERS)
    ]


def kill_workers(daemon: Daemon) -> int:
    killed = 0
    for _ in range(KILLS):
        time.sleep(random.uniform(0.2, 0.6))
        alive = [one["pid"] for one in daemon.workers() if one["pid"]]
        if alive:
            with suppress(ProcessLookupError):
                os.kill(random.choice(alive), signal.SIGKILL)
                killed += 1
    return killed


def test_one_job_of_a_key_at_a_time_while_workers_are_killed(
    daemon: Callable[..., Daemon], url: str, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    one = daemon(CONFIG.format(url=url), jobs=JOBS, LEDGER=str(ledger)).start()
    producers = produce(one.folder, url)
    assert kill_workers(one) > 0
    said = [json.loads(line) for each in producers for line in each.communicate()[0].splitlines()]
    assert [each.returncode for each in producers] == [0] * PRODUCERS
    assert len(said) == PRODUCERS * EACH
    queue = Queue(url).sync

    def idle() -> bool:
        stats = queue.stats()
        return stats.size + stats.reserved == 0

    until(idle, "the end of all jobs")
    stats = queue.stats()
    enqueued = [(key, job_id, at) for key, job_id, new, at in said if new]
    assert stats.enqueued_total == len(enqueued)
    assert stats.refused_total == len(said) - len(enqueued) > 0

    runs: dict[str, list[int]] = defaultdict(list)
    for line in ledger.read_text().splitlines():
        _, job_id, _, at = line.split()
        runs[job_id].append(int(at))
    assert runs.keys() == {job_id for _, job_id, _ in enqueued}
    for key in range(KEYS):
        of_key = sorted((min(runs[id_]), max(runs[id_]), at) for k, id_, at in enqueued if k == key)
        assert len(of_key) > 1
        for (_, last, _), (first, _, acknowledged) in pairwise(of_key):
            assert last < first  # no two ran at a time,
            assert last < acknowledged  # nor waited while another one ran
    refused = [(key, job_id) for key, job_id, new, _ in said if not new]
    holders = {(key, job_id) for key, job_id, _ in enqueued}
    assert set(refused) <= holders  # each refusal named a job of that key

    again = subprocess.run(
        [sys.executable, "-c", AGAIN, url],
        cwd=one.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert again.stdout.strip() == str([True] * KEYS)
    until(idle, "the end of the last jobs")
    queue.close()
