"""The page of metrics: complete, lint-clean, and never going backwards."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from queued.daemon.metrics import Metrics
from queued.daemon.monitor.collector import COUNTED, FleetCollector, Sample
from queued.daemon.monitor.fleet import Fleet
from queued.daemon.reach import Reach
from queued.drivers.base import QueueStats
from queued.version import __version__
from queued.web.exposition import Exposition
from tests.tools import required

POOL = {
    "state": "running",
    "desired": 2,
    "slots": 20,
    "workers": {"idle": 1, "busy": 1},
    "memory": 50_000_000,
    "memory_max": 30_000_000,
    "heartbeat_age": 0.04,
}


def worker_snapshot(succeeded: int = 3) -> dict[str, Any]:
    """Return what a worker counts, one of each of its metrics."""
    metrics = Metrics()
    attempts = metrics.counter("attempts_total", "queue", "job_class", "outcome")
    attempts.series("emails", "app.Send", "succeeded").value = succeeded
    metrics.counter("job_errors_total", "queue", "error").series("emails", "ValueError").value = 1
    metrics.counter("stale_acks_total", "queue").series("emails").value = 1
    metrics.counter("worker_busy_seconds_total", "pool").series("emails").value = 1.5
    metrics.counter("dropped_labelsets_total").series().value = 0
    metrics.gauge("jobs_in_flight", "queue").series("emails").value = 2
    metrics.histogram("job_run_seconds", "queue", "job_class").series(
        "emails", 'we"ird\\class\n'
    ).observe(0.02)
    for name in ("job_wait_seconds", "job_end_to_end_seconds"):
        metrics.histogram(name, "queue").series("emails").observe(7.0)
    metrics.histogram("event_loop_lag_seconds", "pool").series("emails").observe(99.0)
    return metrics.snapshot()


class Page:
    """A collector with what it shows, and its page as parsed samples."""

    def __init__(self) -> None:
        self.fleet = Fleet()
        self.metrics = Metrics()
        self.reach = Reach("redis", self.metrics)
        self.collector = FleetCollector(self.fleet, self.reach, {"emails": 5.0})

    def fill(self) -> None:
        with self.reach.watch("stats"):
            stats = QueueStats(ready=4, scheduled=3, reserved=2, failed=1, enqueued_total=99)
        self.collector.sample = Sample(1_700_000_000.0, {"emails": stats})
        exits = {"counters": {"worker_exits_total": [[{"pool": "emails", "reason": "signal"}, 2]]}}
        fleet = {"owners": {}, "pools": {"emails": POOL}, "totals": exits, "config_ok": False}
        self.fleet.hear({"type": "fleet", **fleet})
        self.fleet.hear({"type": "snapshot", "child": "w1", "data": worker_snapshot()})
        self.fleet.own = self.metrics.snapshot()

    def text(self, accept: str = "") -> str:
        return Exposition(self.collector).render(accept).body.decode()

    def samples(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in parse_text(self.text())
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        return self.samples()[f"queued_{name}", frozenset(labels.items())]


@pytest.fixture
def page() -> Page:
    return Page()


def test_every_metric_of_the_catalogue_is_there(page: Page) -> None:
    page.fill()
    expected = {
        ("queue_jobs", (("queue", "emails"), ("state", "ready"))): 4,
        ("queue_jobs", (("queue", "emails"), ("state", "scheduled"))): 3,
        ("queue_jobs", (("queue", "emails"), ("state", "reserved"))): 2,
        ("queue_jobs", (("queue", "emails"), ("state", "failed"))): 1,
        ("queue_oldest_ready_age_seconds", (("queue", "emails"),)): 0,
        ("queue_oldest_reserved_age_seconds", (("queue", "emails"),)): 0,
        ("queue_max_wait_seconds", (("queue", "emails"),)): 5,
        ("queue_paused", (("queue", "emails"),)): 0,
        ("jobs_enqueued_total", (("queue", "emails"),)): 99,
        ("stale_acks_total", (("queue", "emails"),)): 1,
        (
            "attempts_total",
            (("queue", "emails"), ("job_class", "app.Send"), ("outcome", "succeeded")),
        ): 3,
        ("job_errors_total", (("queue", "emails"), ("error", "ValueError"))): 1,
        ("jobs_in_flight", (("queue", "emails"),)): 2,
        ("worker_busy_seconds_total", (("pool", "emails"),)): 1.5,
        ("worker_exits_total", (("pool", "emails"), ("reason", "signal"))): 2,
        ("workers", (("pool", "emails"), ("state", "idle"))): 1,
        ("workers", (("pool", "emails"), ("state", "busy"))): 1,
        ("workers", (("pool", "emails"), ("state", "starting"))): 0,
        ("pool_state", (("pool", "emails"), ("state", "running"))): 1,
        ("pool_state", (("pool", "emails"), ("state", "fatal"))): 0,
        ("workers_desired", (("pool", "emails"),)): 2,
        ("worker_slots", (("pool", "emails"),)): 20,
        ("pool_memory_bytes", (("pool", "emails"),)): 50_000_000,
        ("pool_worker_memory_max_bytes", (("pool", "emails"),)): 30_000_000,
        ("pool_heartbeat_age_max_seconds", (("pool", "emails"),)): 0.04,
        ("driver_up", (("driver", "redis"),)): 1,
        ("driver_operation_seconds_count", (("driver", "redis"), ("operation", "stats"))): 1,
        ("stats_timestamp_seconds", ()): 1_700_000_000,
        ("config_last_reload_successful", ()): 0,
        ("dropped_labelsets_total", ()): 0,
        ("job_wait_seconds_bucket", (("queue", "emails"), ("le", "5.0"))): 0,
        ("job_wait_seconds_bucket", (("queue", "emails"), ("le", "10.0"))): 1,
        ("job_wait_seconds_bucket", (("queue", "emails"), ("le", "3600.0"))): 1,
        ("job_wait_seconds_bucket", (("queue", "emails"), ("le", "+Inf"))): 1,
        ("job_wait_seconds_sum", (("queue", "emails"),)): 7,
        ("job_end_to_end_seconds_count", (("queue", "emails"),)): 1,
        ("event_loop_lag_seconds_bucket", (("pool", "emails"), ("le", "5.0"))): 0,
        ("event_loop_lag_seconds_count", (("pool", "emails"),)): 1,
        (
            "job_run_seconds_count",
            (("queue", "emails"), ("job_class", 'we"ird\\class\n')),
        ): 1,
    }
    samples = page.samples()
    found = {
        (name, labels): samples.get((f"queued_{name}", frozenset(labels)))
        for name, labels in expected
    }
    assert found == expected
    names = {name for name, _ in samples}
    assert "queued_scrape_duration_seconds" in names
    assert any(("version", __version__) in labels for _, labels in samples)
    assert not [name for name in names if name.endswith("_created")]
    assert all(name.startswith("queued_") for name in names)


def test_both_formats_say_the_same(page: Page) -> None:
    page.fill()
    openmetrics = page.text("application/openmetrics-text; version=1.0.0")
    assert openmetrics.endswith("# EOF\n")
    found = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse_openmetrics(openmetrics)
        for sample in family.samples
    }
    took = ("queued_scrape_duration_seconds", frozenset())
    text = page.samples()
    assert found.pop(took) >= 0
    assert text.pop(took) >= 0
    assert found == text


def test_promtool_has_no_complaint(page: Page) -> None:
    promtool = required("promtool")
    page.fill()
    lint = subprocess.run(
        [promtool, "check", "metrics"],
        input=page.text(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (lint.returncode, lint.stdout + lint.stderr) == (0, "")


def test_nothing_is_counted_before_the_master_has_spoken(page: Page) -> None:
    page.fleet.hear({"type": "snapshot", "child": "w1", "data": worker_snapshot()})
    assert "attempts_total{" not in page.text()
    assert page.value("driver_up", driver="redis") == 0


def test_a_metric_without_a_description_is_shown_all_the_same(page: Page) -> None:
    page.fill()
    data = {"counters": {"new_things_total": [[{}, 1]]}}
    page.fleet.hear({"type": "snapshot", "child": "w2", "data": data})
    assert page.value("new_things_total") == 1


def test_every_description_is_used_or_known() -> None:
    assert all(re.fullmatch(r"[A-Z][^\n]*\.", text) for text in COUNTED.values())


def test_counters_survive_their_child(page: Page) -> None:
    page.fill()
    labels = {"queue": "emails", "job_class": "app.Send", "outcome": "succeeded"}
    page.fleet.hear({"type": "snapshot", "child": "w2", "data": worker_snapshot(10)})
    assert page.value("attempts_total", **labels) == 13

    page.fleet.hear({"type": "exited", "child": "w2", "totals": worker_snapshot(10)})
    assert page.value("attempts_total", **labels) == 13
    page.fleet.hear({"type": "snapshot", "child": "w1", "data": worker_snapshot(4)})
    assert page.value("attempts_total", **labels) == 14
    assert page.value("job_run_seconds_count", queue="emails", job_class='we"ird\\class\n') == 2


def test_a_child_that_sends_nonsense_spoils_nothing(page: Page) -> None:
    page.fill()
    broken = [{"counters": one} for one in (1, {"x": 1}, {"x": [1]})]
    text = {"gauges": {"jobs_in_flight": [[{"queue": "emails"}, "2"]]}}
    for nonsense in (None, 7, [], *broken, text):
        page.fleet.hear({"type": "snapshot", "child": "w9", "data": nonsense})
    assert page.value("jobs_in_flight", queue="emails") == 2


def test_a_child_is_not_counted_twice_when_the_word_of_its_end_was_lost(page: Page) -> None:
    page.fill()
    labels = {"queue": "emails", "job_class": "app.Send", "outcome": "succeeded"}
    page.fleet.hear({"type": "snapshot", "child": "other-monitor", "data": worker_snapshot(1)})
    fleet = {"owners": {"emails": ["w2"]}, "monitors": ["other-monitor"], "pools": {"emails": POOL}}
    page.fleet.hear({"type": "fleet", **fleet, "totals": worker_snapshot(3)})
    assert page.value("attempts_total", **labels) == 4  # w1 is in the totals


def test_a_rendering_serves_every_scrape_of_a_second(page: Page) -> None:
    now = 0.0
    exposition = Exposition(page.collector, clock=lambda: now)
    first = exposition.render("")
    now = 0.9
    assert exposition.render("text/plain") is first
    assert exposition.render("application/openmetrics-text") is not first
    now = 1.0
    assert exposition.render("") is not first
