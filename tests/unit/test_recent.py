"""What queues did lately: differences of counts, and quantiles as Prometheus has them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from queued.daemon.master.obituary import UNPLANNED
from queued.daemon.metrics import BUCKETS, Metrics
from queued.daemon.monitor.fleet import Fleet
from queued.daemon.monitor.recent import CRASHES, WINDOWS, Rates, Recent, quantile
from tests.tools import required

NOTE_EVERY = 5.0


class Workplace:
    """A worker's counts, a fleet that hears them, and notes of it."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.fleet = Fleet()
        self.recent = Recent(NOTE_EVERY)
        self.now = 1_000.0
        told = {"owners": {"emails": ["w1"]}, "pools": {}, "totals": {}, "scopes": []}
        self.fleet.hear({"type": "fleet", **told})

    def ran(self, outcome: str, times: int = 1, queue: str = "emails", job: str = "Send") -> None:
        attempts = self.metrics.counter("attempts_total", "queue", "job_class", "outcome")
        attempts.series(queue, job, outcome).value += times

    def took(self, seconds: float, *, waited: float = 0.0, job: str = "Send") -> None:
        self.metrics.histogram("job_run_seconds", "queue", "job_class").series(
            "emails", job
        ).observe(seconds)
        self.metrics.histogram("job_wait_seconds", "queue").series("emails").observe(waited)

    def note(self, after: float = NOTE_EVERY) -> None:
        self.now += after
        snapshot = self.metrics.snapshot()
        self.fleet.hear({"type": "snapshot", "child": "w1", "data": snapshot})
        self.recent.note(self.fleet, self.now)

    def rates(self, window: float = 60.0, queue: str = "emails") -> Rates:
        found = self.recent.of(queue, window)
        assert found is not None
        return found


@pytest.fixture
def place() -> Workplace:
    return Workplace()


def test_nothing_is_known_before_two_notes(place: Workplace) -> None:
    place.ran("succeeded", 5)
    assert place.recent.of("emails", 60) is None
    assert place.recent.frame() == {}
    place.note()
    assert place.recent.of("emails", 60) is None
    place.note()
    assert place.rates().attempts == 0
    assert place.rates(queue="nonsuch").attempts == 0


def test_what_was_counted_before_the_first_note_is_not_recent(place: Workplace) -> None:
    place.ran("failed", 1_000)
    place.note()
    place.ran("succeeded", 3)
    place.note()
    rates = place.rates()
    assert (rates.attempts, rates.failures, rates.failure_ratio) == (3, 0, 0.0)


def test_the_ratio_is_that_of_the_alert(place: Workplace) -> None:
    place.note()
    for outcome in ("succeeded", "released", "retried", "failed", "timed_out", "lost"):
        place.ran(outcome, 10)
        place.ran(outcome, 5, job="Other")
    place.note(10.0)
    rates = place.rates()
    assert rates.attempts == 90
    assert rates.failures == 60
    assert rates.failure_ratio == pytest.approx(2 / 3)
    assert rates.outcomes["timed_out"] == 15
    assert rates.finished_per_second == pytest.approx(3.0)
    assert rates.seconds == 10.0


def test_crashes_are_those_that_nobody_planned(place: Workplace) -> None:
    assert {reason.value for reason in UNPLANNED} == CRASHES
    exits = place.metrics.counter("worker_exits_total", "pool", "reason")
    place.note()
    exits.series("emails", "signal").value += 2
    exits.series("emails", "oom").value += 1
    exits.series("emails", "max_jobs").value += 5
    place.note()
    assert place.rates().crashes == 3
    place.note(61)
    assert place.rates().crashes == 0


def test_an_idle_queue_has_no_ratio_and_no_quantile(place: Workplace) -> None:
    place.ran("failed")
    place.took(1.0)
    place.note()
    place.note()
    rates = place.rates()
    assert rates.failure_ratio is rates.wait_p95 is rates.run_p95 is None
    assert rates.outcomes == {}
    assert rates.finished_per_second == 0.0


def test_quantiles_are_over_all_classes_and_of_the_window_only(place: Workplace) -> None:
    for _ in range(1_000):
        place.took(200.0, waited=200.0)
    place.note()
    for _ in range(95):
        place.took(0.02, job="Other")
    for _ in range(5):
        place.took(4.0, waited=2.0)
    place.note()
    rates = place.rates()
    assert rates.run_p95 == pytest.approx(0.025)
    assert rates.wait_p95 == pytest.approx(0.01)


def test_windows_differ_and_forget(place: Workplace) -> None:
    place.note()
    place.ran("failed", 30)
    for _ in range(24):
        place.note()
    assert place.rates(300).failures == 30
    assert place.rates(300).seconds == 24 * NOTE_EVERY
    assert place.rates(60).failures == 0
    assert place.rates(60).seconds == 60
    for _ in range(60):
        place.note()
    assert place.rates(300).failures == 0


def test_a_queue_that_is_new_counts_from_nothing(place: Workplace) -> None:
    place.note()
    place.ran("failed", 4, queue="new")
    place.note()
    assert place.rates(queue="new").failures == 4


def test_the_frame_has_each_queue_and_window(place: Workplace) -> None:
    place.note()
    place.ran("succeeded")
    place.ran("failed", queue="other")
    place.note()
    frame = place.recent.frame()
    assert {queue: list(windows) for queue, windows in frame.items()} == {
        "emails": list(WINDOWS),
        "other": list(WINDOWS),
    }


def test_it_is_bounded_and_the_longest_window_fits(place: Workplace) -> None:
    for _ in range(1_000):
        place.ran("succeeded")
        place.note(0.9 * NOTE_EVERY)  # as early as the duty's jitter makes it
    assert len(place.recent._notes) < 75
    assert place.rates(300).seconds >= 300


def test_an_idle_queue_costs_a_note_nothing(place: Workplace) -> None:
    place.ran("succeeded")
    place.note()
    place.ran("succeeded", queue="other")
    place.note()
    first, second = place.recent._notes
    assert second[1]["emails"] is first[1]["emails"]


def test_what_a_job_forged_is_left_out(place: Workplace) -> None:
    place.note()
    forged = {"counters": {"attempts_total": [[{"job_class": "x"}, 9]]}}
    place.fleet.hear({"type": "snapshot", "child": "w2", "data": forged})
    place.ran("succeeded")
    place.note()
    assert place.rates().attempts == 1


def test_a_monitor_waits_for_everybody_who_was_there_before_it() -> None:
    fleet = Fleet()
    assert not fleet.complete
    none = {"pools": {}, "totals": {}, "scopes": []}
    some = {"owners": {"a": ["w1", "w2"], "b": ["w3", "w4", "new"]}, **none}
    reported = ["w1", "w2", "w3", "w4"]  # the other one has not counted anything yet
    fleet.hear({"type": "fleet", **some, "reported": reported})
    fleet.hear({"type": "snapshot", "child": "w1", "data": {}})
    fleet.hear({"type": "snapshot", "child": "w2", "data": 7})  # nonsense, but it has spoken
    fleet.hear({"type": "exited", "child": "w3", "totals": {}})
    assert not fleet.complete
    later = {"owners": {"a": ["w1", "w2", "w5"], "b": []}, **none}
    fleet.hear({"type": "fleet", **later})  # w4 is gone; w5 is new, and has counted nothing yet
    assert fleet.complete


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([0, 0, 0, 0], None),
        ([100, 0, 0, 0], 0.95),
        ([0, 100, 0, 0], 1.95),
        ([50, 45, 5, 0], 2.0),
        ([0, 0, 0, 3], 4.0),
        ([90, 0, 0, 10], 4.0),
    ],
)
def test_quantile(counts: list[float], expected: float | None) -> None:
    found = quantile(0.95, (1.0, 2.0, 4.0), counts)
    assert found == (expected if expected is None else pytest.approx(expected))


@given(st.lists(st.integers(0, 1_000), min_size=15, max_size=15))
def test_a_quantile_is_within_the_bucket_that_holds_it(counts: list[int]) -> None:
    bounds = BUCKETS["job_wait_seconds"]
    found = quantile(0.95, bounds, counts)
    if found is None:
        assert not any(counts)
        return
    below = sum(count for bound, count in zip(bounds, counts, strict=False) if bound < found)
    upto = sum(counts) if found >= bounds[-1] else below + counts[_bucket(bounds, found)]
    assert below <= 0.95 * sum(counts) <= upto + 1e-6


def _bucket(bounds: tuple[float, ...], value: float) -> int:
    return next(index for index, bound in enumerate(bounds) if value <= bound)


def test_prometheus_has_the_same_quantile(tmp_path: Path) -> None:
    promtool = required("promtool")
    bounds = BUCKETS["job_run_seconds"]
    counts = [3, 0, 20, 11, 40, 0, 7, 9, 2, 0, 0, 5, 1, 0, 0, 0]
    counts += [0] * (len(bounds) + 1 - len(counts))
    running = [sum(counts[: index + 1]) for index in range(len(counts))]
    series = [
        {"series": f'x_bucket{{le="{bound}"}}', "values": f"{count}"}
        for bound, count in zip([*bounds, "+Inf"], running, strict=True)
    ]
    ours = quantile(0.95, bounds, counts)
    assert ours is not None
    near = f"abs(histogram_quantile(0.95, x_bucket) - {ours!r}) < bool 1e-9"
    test = {"expr": near, "eval_time": "0m", "exp_samples": [{"labels": "{}", "value": 1}]}
    case = {"interval": "1m", "input_series": series, "promql_expr_test": [test]}
    (tmp_path / "test.yml").write_text(yaml.safe_dump({"rule_files": [], "tests": [case]}))
    done = subprocess.run(
        [promtool, "test", "rules", "test.yml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
