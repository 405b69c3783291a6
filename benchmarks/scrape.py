"""What a scrape of ``/metrics`` costs: ``python -m benchmarks.scrape``.

A daemon with so many queues runs a job of every class on its queues, and is then scraped each
second by a client that keeps its connection, as Prometheus does (fifteen times as often).
"""

from __future__ import annotations

import dataclasses
import gzip
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from prometheus_client.parser import text_string_to_metric_families as parse

from benchmarks import server
from benchmarks.processes import descendants, group, processor_seconds
from benchmarks.scale.fleet import title, until_running
from benchmarks.server import Server

SHAPES: Sequence[tuple[int, int, int]] = ((10, 40, 4), (50, 200, 4), (50, 200, 200))
"""Queues, classes, and how many of these run on each queue."""
COUNTED_WITHIN = 300.0


@dataclass(frozen=True, slots=True)
class Scrape:
    """One daemon's page. Times are ms, sizes kB, processor per cent of a core."""

    queues: int
    classes: int
    on_each: int
    series: int
    size: float
    zipped: float
    served_p50: float
    """From the request to the last byte, compressed, of a page that is kept."""
    served_p99: float
    plain_p50: float
    """The same, not compressed."""
    first: float
    """The first scrape, which waits for the page."""
    render: float
    """As the page itself says: without what compresses it."""
    monitor_idle: float
    """The monitor, before anybody scraped,"""
    monitor_scraped: float
    """and while it is scraped each second."""


def measure(redis: Server, folder: Path, shape: tuple[int, int, int], seconds: float) -> Scrape:
    """Start a daemon of a shape, let it count, and scrape it for so long."""
    queues, classes, each = shape
    redis.flush()
    config = _write(folder, redis.url, queues, classes)
    environment = os.environ | {
        "QUEUED_RUNTIME_DIR": str(folder / "run"),
        "QUEUED_CONFIG": str(config),
    }
    queued = Path(sys.executable).with_name("queued")
    with group([queued, "start"], folder, environment, folder / "daemon.log") as master:
        status: list[str | Path] = [queued, "status", "--json", "-c", config]
        until_running(status, environment, queues)
        [monitor] = [pid for pid in descendants(master.pid) if "monitor" in title(pid)]
        push = [sys.executable, "-c", PUSH, *map(str, (queues, classes, each))]
        subprocess.run(push, cwd=folder, env=environment, check=True)
        told = json.loads(subprocess.check_output(status, env=environment))["http"]
        time.sleep(2)  # and counted: once a second
        idle = _share(monitor, lambda: time.sleep(seconds))
        client = http.client.HTTPConnection(told)
        first, _ = _fetch(client)
        _until_counted(client, queues * each)
        times: list[float] = []
        scraped = _share(monitor, lambda: times.extend(_scrape(client, seconds)))
        plain = statistics.median(_fetch(client, "identity")[0] for _ in range(10))
        _, body = _fetch(client)
        page = gzip.decompress(body)
        samples = {one.name: one.value for found in parse(page.decode()) for one in found.samples}
        return Scrape(
            queues,
            classes,
            each,
            sum(not line.startswith(b"#") for line in page.splitlines()),
            len(page) / 1e3,
            len(body) / 1e3,
            statistics.median(times) * 1e3,
            sorted(times)[int(0.99 * len(times))] * 1e3,
            plain * 1e3,
            first * 1e3,
            samples["queued_scrape_duration_seconds"] * 1e3,
            100 * idle,
            100 * scraped,
        )


PUSH = """
import sys, time
import bench_jobs
from queued import queue

queues, classes, each = map(int, sys.argv[1:])
for number in range(queues):
    chosen = [getattr(bench_jobs, f"Job{(number * each + n) % classes}")() for n in range(each)]
    queue.sync.bulk(chosen, queue=f"q{number}")
for number in range(queues):
    while (found := queue.sync.stats(f"q{number}")).ready or found.reserved:
        time.sleep(0.1)
"""
"""Dispatches everything, and waits until it is done."""


def _write(folder: Path, url: str, queues: int, classes: int) -> Path:
    jobs = "".join(f"class Job{number}(Noop): ...\n" for number in range(classes))
    (folder / "bench_jobs.py").write_text(
        "from queued import Job\n\nclass Noop(Job):\n    async def handle(self): ...\n\n" + jobs
    )
    pools = "".join(f"  q{number}: {{max_wait: 1m}}\n" for number in range(queues))
    config = folder / "queue.yaml"
    config.write_text(
        f"connection: {url}\nimports: [bench_jobs]\n"
        f'http: {{listen: "127.0.0.1:0"}}\nqueues:\n{pools}'
    )
    return config


def _fetch(client: http.client.HTTPConnection, encoding: str = "gzip") -> tuple[float, bytes]:
    began = time.perf_counter()
    client.request("GET", "/metrics", headers={"Accept-Encoding": encoding})
    body = client.getresponse().read()
    return time.perf_counter() - began, body


def _scrape(client: http.client.HTTPConnection, seconds: float) -> list[float]:
    times = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        took, _ = _fetch(client)
        times.append(took)
        time.sleep(max(0.0, 1 - took))
    return times


def _share(pid: int, work: Callable[[], object]) -> float:
    """Return the processor time of a process while ``work`` is done, as a share of a core."""
    busy, began = processor_seconds([pid]), time.monotonic()
    work()
    return (processor_seconds([pid]) - busy) / (time.monotonic() - began)


def _until_counted(client: http.client.HTTPConnection, jobs: int) -> None:
    deadline = time.monotonic() + COUNTED_WITHIN
    while time.monotonic() < deadline:
        page = gzip.decompress(_fetch(client)[1]).decode()
        counted = sum(
            float(line.rpartition(" ")[2])
            for line in page.splitlines()
            if line.startswith("queued_attempts_total{")
        )
        if counted == jobs:
            return
        time.sleep(1)
    raise TimeoutError(f"{counted:g} of {jobs} runs are on the page")


@click.command()
@click.option("--quick", is_flag=True, help="The smallest daemon, for seconds: to see it work.")
def main(*, quick: bool) -> None:
    """Measure what a scrape costs, by queues and classes."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="queued-scrape-") as name:
        for number, shape in enumerate(SHAPES[:1] if quick else SHAPES):
            folder = Path(name) / str(number)
            folder.mkdir()
            with server.running(folder) as redis:
                rows.append(measure(redis, folder, shape, 3.0 if quick else 60.0))
            click.echo(f"{rows[-1]}", err=True)
    names = [field.name for field in dataclasses.fields(Scrape)]
    table = [names, ["---:"] * len(names)]
    table += [[f"{getattr(row, name):,.4g}" for name in names] for row in rows]
    click.echo("\n".join(f"| {' | '.join(line)} |" for line in table))


if __name__ == "__main__":
    main()
