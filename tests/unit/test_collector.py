"""The page of metrics: complete, lint-clean, and never going backwards."""

from __future__ import annotations

import json
import re
import subprocess
import time
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from queued.daemon.channel import encode
from queued.daemon.master.totals import Totals
from queued.daemon.metrics import Metrics
from queued.daemon.monitor import collector as collector_module
from queued.daemon.monitor.collector import COUNTED, FleetCollector, Sample
from queued.daemon.monitor.fleet import Fleet
from queued.daemon.reach import Reach
from queued.daemon.spec import QueueSpec
from queued.daemon.tally import Tally
from queued.drivers.base import QueueStats
from queued.version import __version__
from queued.web.exposition import render
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


OBJECTIVES = {"emails": QueueSpec(max_wait=5.0, max_failure_rate=0.05), "low": QueueSpec()}
SUCCEEDED = {"queue": "emails", "job_class": "app.Send", "outcome": "succeeded"}


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
    metrics.histogram("job_payload_bytes", "queue").series("emails").observe(300)
    metrics.histogram("event_loop_lag_seconds", "pool").series("emails").observe(99.0)
    return metrics.snapshot()


class Page:
    """A collector with what it shows, a master's totals, and the page as parsed samples."""

    def __init__(self) -> None:
        self.at = float(int(time.time()))
        self.fleet = Fleet()
        self.metrics = Metrics()
        self.reach = Reach("redis", self.metrics)
        self.collector = FleetCollector(self.fleet, self.reach, OBJECTIVES, "ab12cd34")
        self.totals = Totals()

    def fill(self) -> None:
        with self.reach.watch("stats"):
            counts = {"enqueued_total": 99, "refused_total": 7}
            stats = QueueStats(ready=4, scheduled=3, reserved=2, failed=1, **counts)
        self.collector.sample = Sample(self.at, {"emails": stats})
        self.tell_of_fleet(["w1"])
        self.totals.count_exit("emails", "signal")
        self.totals.count_exit("emails", "signal")
        self.hear("w1", worker_snapshot())
        self.fleet.own = self.metrics.snapshot()

    def tell_of_fleet(self, living: list[str], pools: tuple[str, ...] = ("emails",)) -> None:
        """Be the master: tell of the pools and of the totals."""
        self.totals.keep(pools, 0.0)
        self.fleet.hear(
            {
                "type": "fleet",
                "owners": {"emails": living},
                "pools": dict.fromkeys(pools, POOL),
                "totals": json.loads(self.totals.since(0)),
                "scopes": self.totals.scopes,
                "config_ok": False,
                "started_at": 1_600_000_000.0,
            }
        )

    def hear(self, child: str, data: Any) -> None:
        """Pass on a child's snapshot; then the master lets in the names that are new."""
        self.fleet.hear({"type": "snapshot", "child": child, "data": data})
        self.totals.fold(self.fleet.unadmitted())
        self.tell_of_fleet([*self.fleet.owners["emails"], child])

    def bury(self, child: str, last: dict[str, Any]) -> None:
        before = self.totals.version
        self.totals.add(child, encode({"type": "snapshot", "data": last}))
        totals = json.loads(self.totals.since(before))
        self.fleet.hear({"type": "exited", "child": child, "totals": totals})

    def text(self, accept: str = "") -> str:
        openmetrics = "openmetrics" in accept
        return render(self.collector.freeze(), openmetrics=openmetrics).body.decode()

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
        ("queue_max_failure_ratio", (("queue", "emails"),)): 0.05,
        ("queue_paused", (("queue", "emails"),)): 0,
        ("jobs_enqueued_total", (("queue", "emails"),)): 99,
        ("jobs_refused_total", (("queue", "emails"), ("reason", "duplicate"))): 7,
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
        ("workers", (("pool", "emails"), ("state", "backoff"))): 0,
        ("workers", (("pool", "emails"), ("state", "fatal"))): 0,
        ("pool_state", (("pool", "emails"), ("state", "running"))): 1,
        ("pool_state", (("pool", "emails"), ("state", "fatal"))): 0,
        ("workers_desired", (("pool", "emails"),)): 2,
        ("worker_slots", (("pool", "emails"),)): 20,
        ("pool_memory_bytes", (("pool", "emails"),)): 50_000_000,
        ("pool_worker_memory_max_bytes", (("pool", "emails"),)): 30_000_000,
        ("pool_heartbeat_age_max_seconds", (("pool", "emails"),)): 0.04,
        ("driver_up", (("driver", "redis"),)): 1,
        ("driver_errors_total", (("driver", "redis"), ("kind", "unavailable"))): 0,
        ("driver_operation_seconds_count", (("driver", "redis"), ("operation", "stats"))): 1,
        ("stats_timestamp_seconds", ()): page.at,
        ("start_time_seconds", ()): 1_600_000_000,
        ("backend_info", (("driver", "redis"), ("backend", "ab12cd34"))): 1,
        ("monitor_exits_total", (("reason", "signal"),)): 0,
        ("worker_exits_total", (("pool", "emails"), ("reason", "oom"))): 0,
        ("job_payload_bytes_bucket", (("queue", "emails"), ("le", "1024.0"))): 1,
        ("job_payload_bytes_sum", (("queue", "emails"),)): 300,
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
    assert not [labels for _, labels in samples if ("queue", "low") in labels]
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


def test_a_part_of_the_children_is_not_shown_as_the_whole(page: Page) -> None:
    """A new monitor is told of the totals first, and of each child that lives after that."""
    page.totals.keep(["emails"], 0.0)
    page.totals.fold(worker_snapshot(100))
    told = {"owners": {"emails": ["w1", "w2"]}, "pools": {}, "scopes": page.totals.scopes}
    totals = json.loads(page.totals.since(0))
    frame = {"type": "fleet", **told, "totals": totals, "reported": ["w1", "w2"]}
    page.fleet.hear(frame)
    page.fleet.hear({"type": "snapshot", "child": "w1", "data": worker_snapshot(10)})
    assert "attempts_total{" not in page.text()
    page.fleet.hear({"type": "snapshot", "child": "w2", "data": "nonsense"})
    assert page.value("attempts_total", **SUCCEEDED) == 110
    page.fleet.hear(frame | {"reported": ["w1", "w2", "w3"]})  # it is new: it only adds
    assert page.value("attempts_total", **SUCCEEDED) == 110


def test_nobody_waits_for_a_child_that_died_before_it_was_heard(page: Page) -> None:
    page.totals.keep(["emails"], 0.0)
    told = {"pools": {}, "scopes": page.totals.scopes, "totals": json.loads(page.totals.since(0))}
    owners = {"emails": ["w1", "w2"]}
    page.fleet.hear({"type": "fleet", **told, "owners": owners, "reported": ["w1", "w2"]})
    page.fleet.hear({"type": "exited", "child": "w1", "totals": {}})
    assert not page.fleet.complete
    page.fleet.hear({"type": "fleet", **told, "owners": {"emails": ["w3"]}})
    assert page.fleet.complete


def test_a_metric_without_a_description_is_shown_all_the_same(page: Page) -> None:
    page.fill()
    page.hear("w2", {"counters": {"new_things_total": [[{}, 1]]}})
    assert page.value("new_things_total") == 1


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text"])
def test_a_job_that_forges_a_snapshot_does_not_break_the_page(page: Page, accept: str) -> None:
    """It can reach its worker's channel; a name that is there twice would cost all the others."""
    page.fill()
    own = {"queue": "emails"}
    page.hear(
        "w2",
        {
            "counters": {"jobs_enqueued_total": [[own, 7]], "backend_info_total": [[{}, 1]]},
            "gauges": {"driver_up": [[own, 7]], "queue_jobs": [[own, 7]]},
        },
    )
    types = re.findall(r"^# TYPE (\S+)", page.text(accept), re.MULTILINE)
    assert len(types) == len(set(types))
    assert page.value("jobs_enqueued_total", queue="emails") == 99
    assert "7.0" not in re.findall(r"^queued_(?:driver_up|queue_jobs)\S* (\S+)", page.text())


def test_a_name_is_shown_when_the_master_has_let_it_in(page: Page) -> None:
    page.fill()
    data = {"counters": {"job_errors_total": [[{"queue": "emails", "error": "New"}, 5]]}}
    page.fleet.hear({"type": "snapshot", "child": "w2", "data": data})
    assert "New" not in page.text()
    page.hear("w2", data)
    assert page.value("job_errors_total", queue="emails", error="New") == 5


def test_names_of_a_pool_that_went_and_came_back_are_let_in_again(page: Page) -> None:
    page.fill()
    page.totals.keep([], 10.0)
    page.totals.keep([], 10_000.0)
    page.tell_of_fleet(["w1"], pools=())
    assert page.fleet.unadmitted() == Tally().snapshot()
    page.tell_of_fleet(["w1"])
    assert "app.Send" not in page.text()
    page.hear("w1", worker_snapshot())
    assert page.value("attempts_total", **SUCCEEDED) == 3


def test_a_snapshot_that_is_broken_where_it_has_changed_is_left_out(page: Page) -> None:
    """What is as it was is not looked at again."""
    page.fill()
    broken = worker_snapshot(99)
    broken["gauges"]["jobs_in_flight"] = [[{"queue": "emails"}, "x"]]
    page.fleet.hear({"type": "snapshot", "child": "w1", "data": broken})
    assert page.value("attempts_total", **SUCCEEDED) == 3


def errors_of(worker: int) -> dict[str, Any]:
    rows = [[{"queue": "emails", "error": f"Error{worker}{n}"}, 1] for n in range(8)]
    return {"counters": {"job_errors_total": rows}}


def test_errors_are_bounded_over_all_workers_that_ever_lived(page: Page) -> None:
    page.fill()
    seen: dict[Any, float] = {}
    for worker in range(6):
        data = errors_of(worker)
        for step in (
            lambda data=data: page.hear("w2", data),
            lambda data=data: page.bury("w2", data),
        ):
            step()
            now = {key: n for key, n in page.samples().items() if "job_errors" in key[0]}
            assert all(now[key] >= n for key, n in seen.items())
            seen = now
    assert len(seen) == 11
    assert sum(seen.values()) == 1 + 6 * 8
    assert page.value("job_errors_total", queue="emails", error="other") == 1 + 6 * 8 - 10


def test_what_belongs_to_no_pool_that_is_known_is_not_shown(page: Page) -> None:
    page.fill()
    page.hear("w2", {"counters": {"stale_acks_total": [[{"queue": "gone"}, 5]]}})
    assert "gone" not in page.text()


def test_the_series_of_a_pool_go_with_it(page: Page) -> None:
    page.totals.keep(["emails", "low"], 0.0)
    page.fill()
    assert page.value("worker_exits_total", pool="low", reason="crash") == 0
    page.totals.keep(["emails"], 10.0)
    page.totals.keep(["emails"], 10_000.0)
    page.tell_of_fleet(["w1"])
    assert '"low"' not in page.text()


def test_a_sample_that_is_old_is_not_shown(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all hosts' numbers the largest counts, and it would be this one for ever."""
    page.fill()
    monkeypatch.setattr(collector_module, "SAMPLE_KEPT", 0.0)
    assert "queue_jobs{" not in page.text()
    assert page.value("stats_timestamp_seconds") == page.at


def test_every_description_is_used_or_known() -> None:
    assert all(re.fullmatch(r"[A-Z][^\n]*\.", text) for text in COUNTED.values())


def test_counters_survive_their_child(page: Page) -> None:
    page.fill()
    page.hear("w2", worker_snapshot(10))
    assert page.value("attempts_total", **SUCCEEDED) == 13

    page.bury("w2", worker_snapshot(10))
    assert page.value("attempts_total", **SUCCEEDED) == 13
    page.hear("w1", worker_snapshot(4))
    assert page.value("attempts_total", **SUCCEEDED) == 14
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
    page.hear("other", worker_snapshot(1))
    page.totals.fold(worker_snapshot(3))  # the last ones of w1
    page.tell_of_fleet(["other"])
    assert page.value("attempts_total", **SUCCEEDED) == 4
