"""/metrics of a real daemon: the whole catalogue, and counters that never go back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from queued.daemon.metrics import BUCKETS
from tests.process.harness import Daemon, until
from tests.tools import required

JOBS = """
import asyncio
from queued import Job

class Fine(Job):
    queue = "emails"
    async def handle(self): await asyncio.sleep(0.01)

class Broken(Job):
    queue = "emails"
    max_tries = 1
    error: int
    async def handle(self): raise type(f"Error{self.error}", (Exception,), {})("no")

class Tick(Job):
    queue = "ticks"
    max_tries = 1
    number: int = 0
    async def handle(self):
        await asyncio.sleep(0.05)
        if self.number % 3 == 0:
            raise LookupError(self.number)
"""
CONFIG = """
connection: sqlite:///queued.db
imports: [work]
http: {listen: "127.0.0.1:0"}
schedule:
  leap: {cron: "0 0 29 2 *", job: work.Fine, queue: emails}
queues:
  emails: {max_wait: 5s, max_failure_rate: 5%}
  ticks: {processes: {min: 2, max: 2}, concurrency: 4}
"""
ERRORS = 12
"""Kinds of errors: two more than are told apart."""

CATALOGUE = """
queue_jobs                      gauge      queue state
queue_oldest_ready_age_seconds  gauge      queue
queue_oldest_reserved_age_seconds gauge    queue
queue_max_wait_seconds          gauge      queue
queue_max_failure_ratio         gauge      queue
queue_paused                    gauge      queue
jobs_enqueued_total             counter    queue
jobs_refused_total              counter    queue reason
stale_acks_total                counter    queue
attempts_total                  counter    queue job_class outcome
job_errors_total                counter    queue error
jobs_reclaimed_total            counter    queue reason
job_wait_seconds                histogram  queue
job_end_to_end_seconds          histogram  queue
job_payload_bytes               histogram  queue
job_run_seconds                 histogram  queue job_class
jobs_in_flight                  gauge      queue
workers                         gauge      pool state
pool_state                      gauge      pool state
workers_desired                 gauge      pool
workers_min                     gauge      pool
schedule_last_tick_timestamp_seconds gauge schedule
schedule_next_tick_timestamp_seconds gauge schedule
workers_max                     gauge      pool
worker_slots                    gauge      pool
pool_memory_bytes               gauge      pool
pool_worker_memory_max_bytes    gauge      pool
pool_heartbeat_age_max_seconds  gauge      pool
worker_busy_seconds_total       counter    pool
worker_exits_total              counter    pool reason
monitor_exits_total             counter    reason
event_loop_lag_seconds          histogram  pool
driver_operation_seconds        histogram  driver operation
driver_errors_total             counter    driver kind
driver_up                       gauge      driver
backend_info                    gauge      driver backend
stats_timestamp_seconds         gauge
scrape_duration_seconds         gauge
config_last_reload_successful   gauge
start_time_seconds              gauge
dropped_labelsets_total         counter
build_info                      gauge      version python
"""
"""What every scrape has, and nothing else: name, type, labels."""
VALUES = {
    ("queue_jobs", "state"): "ready scheduled reserved failed",
    ("attempts_total", "outcome"): "succeeded retried failed timed_out released lost",
    ("worker_exits_total", "reason"): "max_jobs max_time max_memory drained owner_lost empty "
    "crash signal oom hung boot_error",
    ("workers", "state"): "starting idle busy stopping backoff fatal",
    ("pool_state", "state"): "starting running stopping stopped backoff fatal",
    ("jobs_reclaimed_total", "reason"): "finished crashed suspect timed_out bystander not_started "
    "lease_expired earlier_boot",
}
"""The values of the labels that have the same ones always."""


class Series(NamedTuple):
    """One line of a page."""

    name: str
    labels: frozenset[tuple[str, str]]


class Page:
    """One scrape, parsed."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in parse_text(text)}
        self.values = {
            Series(sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of the series of a name that have these labels."""
        return sum(
            value
            for series, value in self.values.items()
            if series.name == f"queued_{name}" and labels.items() <= dict(series.labels).items()
        )

    def counters(self) -> Iterator[tuple[Series, float]]:
        """Yield all that must never go back: counters, and what histograms have counted."""
        for family in self.families.values():
            if family.type in {"counter", "histogram"}:
                for sample in family.samples:
                    series = Series(sample.name, frozenset(sample.labels.items()))
                    yield series, sample.value


def fetch(daemon: Daemon, accept: str = "") -> str:
    """Scrape a daemon that is there."""
    request = urllib.request.Request(f"{daemon.address}/metrics", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=60) as answer:
        text: str = answer.read().decode()
    return text


@pytest.fixture
def running(daemon: Callable[..., Daemon]) -> Daemon:
    return daemon(CONFIG, jobs=JOBS).start()


def push(daemon: Daemon, program: str) -> None:
    """Run a program that dispatches, in the daemon's folder."""
    code = f"from work import *\nfrom queued import queue\n{program}"
    environment = daemon.environment | {"QUEUED_CONFIG": str(daemon.config)}
    command = [sys.executable, "-c", code]
    subprocess.run(command, cwd=daemon.folder, env=environment, check=True, timeout=60)


def test_a_scrape_has_the_whole_catalogue(running: Daemon) -> None:
    push(
        running,
        f"queue.sync.bulk([Fine() for _ in range(3)] + [Broken(error=n) for n in range({ERRORS})])",
    )

    def done() -> Page | None:
        page = Page(fetch(running))
        ended = page.total("attempts_total", queue="emails")
        sampled = page.total("queue_jobs", queue="emails", state="failed")
        counted = page.total("job_errors_total", queue="emails")
        return page if (ended, sampled, counted) == (3 + ERRORS, ERRORS, ERRORS) else None

    page = until(done, "every job to be shown")
    expected = {line.split()[0]: line.split()[1:] for line in CATALOGUE.strip().splitlines()}
    found = {
        name.removeprefix("queued_") + "_total" * (family.type == "counter"): [
            family.type,
            *{frozenset(sample.labels) - {"le"} for sample in family.samples},
        ]
        for name, family in page.families.items()
    }
    assert found == {name: [kind, frozenset(labels)] for name, (kind, *labels) in expected.items()}
    for (name, label), values in VALUES.items():
        told = {dict(one.labels)[label] for one in page.values if one.name == f"queued_{name}"}
        assert told == set(values.split()), name
    for name, bounds in BUCKETS.items():
        told = {
            float(dict(one.labels)["le"])
            for one in page.values
            if one.name == f"queued_{name}_bucket"
        }
        assert told == {*bounds, float("inf")}, name

    errors = {
        dict(series.labels)["error"]: value
        for series, value in page.values.items()
        if series.name == "queued_job_errors_total"
    }
    assert len(errors) == 11
    assert (errors.pop("other"), set(errors.values())) == (ERRORS - 10, {1})
    assert page.total("queue_max_wait_seconds", queue="emails") == 5
    assert page.total("queue_max_failure_ratio", queue="emails") == 0.05
    assert not [one for one in page.values if one.name.endswith("_created")]


def test_both_formats_are_read_by_their_own_tools(running: Daemon) -> None:
    until(lambda: "queued_attempts_total{" in fetch(running), "the workers to be heard")
    lint = subprocess.run(
        [required("promtool"), "check", "metrics"],
        input=fetch(running),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (lint.returncode, lint.stdout + lint.stderr) == (0, "")

    def fetched() -> str:
        page = fetch(running, "application/openmetrics-text; version=1.0.0")
        return page if "queued_attempts_total{" in page else ""

    openmetrics = until(fetched, "the other format to be as new")
    assert openmetrics.endswith("# EOF\n")
    names = {family.name for family in parse_openmetrics(openmetrics)}
    assert {"queued_attempts", "queued_driver_up", "queued_job_wait_seconds"} <= names


SAMPLED = {"queued_jobs_enqueued_total", "queued_jobs_refused_total"}
"""Counters that the back-end keeps: there again with a new monitor's first sample."""
WORKERS_KILLED, MONITORS_KILLED = 8, 4


def test_no_counter_goes_back_while_workers_and_monitors_are_killed(running: Daemon) -> None:
    """Each kill comes when jobs have been done since the one before: no seat is given up."""
    push(running, "queue.sync.bulk([Tick(number=n) for n in range(20_000)])")
    highest: dict[Series, float] = {}

    def scrape() -> Page:
        page = Page(fetch(running))
        counted = dict(page.counters())
        back = {
            series: (highest[series], value)
            for series, value in counted.items()
            if value < highest.get(series, 0)
        }
        assert not back
        if page.total("attempts_total"):  # a new monitor shows none before it has all of them
            assert not {one for one in highest.keys() - counted.keys() if one.name not in SAMPLED}
        highest.update(counted)
        return page

    def go_on() -> None:
        """Scrape until more jobs have ended than ever before."""
        before = sum(value for one, value in highest.items() if "attempts" in one.name)
        until(lambda: scrape().total("attempts_total") > before, "jobs to end")

    def kill_worker(number: int) -> None:
        victim = until(
            lambda: [one for one in running.workers("ticks") if one["state"] == "running"],
            "a worker that runs",
        )
        os.kill(victim[number % len(victim)]["pid"], signal.SIGKILL)

    go_on()
    for number in range(WORKERS_KILLED):
        if number < MONITORS_KILLED:
            os.kill(running.status()["monitor"]["pid"], signal.SIGKILL)
            if number % 2:  # and a worker while there is none
                kill_worker(0)
            go_on()
        kill_worker(number)
        go_on()

    killed = WORKERS_KILLED + MONITORS_KILLED // 2
    until(
        lambda: scrape().total("worker_exits_total", pool="ticks", reason="signal") == killed,
        "every death to be counted",
    )
    assert scrape().total("monitor_exits_total", reason="signal") == MONITORS_KILLED


def test_what_alerts_need_is_there_while_the_back_end_never_was(
    daemon: Callable[..., Daemon],
) -> None:
    config = CONFIG.replace("sqlite:///queued.db", "redis://127.0.0.1:1/0")
    running = daemon(config, jobs=JOBS).start(ready=False)
    until(lambda: running.get("/healthz")[0] == 200, "the daemon to answer")
    errors = {"driver": "redis", "kind": "unavailable"}

    def told() -> Page | None:
        page = Page(fetch(running))
        heard = any(series.name == "queued_attempts_total" for series in page.values)
        runs = page.total("pool_state", pool="emails", state="running") == 1
        return page if heard and runs and page.total("driver_errors_total", **errors) else None

    page = until(told, "the failed calls to be counted, and the pool to run all the same")
    names = {series.name.removeprefix("queued_") for series in page.values}
    sampled = {name for name in CATALOGUE.split() if name.startswith("queue_")}
    sampled -= {"queue_max_wait_seconds", "queue_max_failure_ratio"}
    assert not names & sampled  # there is no such thing as a backlog that nobody has seen
    assert {"attempts_total", "worker_exits_total", "jobs_reclaimed_total"} <= names
    assert page.values[Series("queued_driver_up", frozenset({("driver", "redis")}))] == 0
    assert page.values[Series("queued_stats_timestamp_seconds", frozenset())] == 0
