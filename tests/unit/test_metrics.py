"""Counters, histograms, snapshots."""

import json

import pytest

from queued.daemon.metrics import (
    BUCKETS,
    Bounded,
    Counter,
    Histogram,
    Metrics,
    sound,
)

CATALOGUE = {
    "job_wait_seconds": "0.01 0.05 0.1 0.25 0.5 1 2.5 5 10 30 60 300 900 3600",
    "job_end_to_end_seconds": "0.01 0.05 0.1 0.25 0.5 1 2.5 5 10 30 60 300 900 3600",
    "job_run_seconds": "0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10 30 60 300 900 3600",
}


def some() -> Metrics:
    metrics = Metrics()
    attempts = metrics.counter("attempts_total", "queue", "outcome")
    attempts.series("emails", "succeeded").value += 3
    attempts.series("emails", "failed").value += 1
    metrics.gauge("jobs_in_flight", "queue").series("emails").value = 2
    metrics.histogram("job_wait_seconds", "queue").series("emails").observe(0.2)
    return metrics


@pytest.mark.parametrize("name", CATALOGUE)
def test_buckets_are_those_of_the_catalogue(name):
    assert BUCKETS[name] == tuple(float(bound) for bound in CATALOGUE[name].split())


@pytest.mark.parametrize("name", BUCKETS)
def test_bounds_rise(name):
    assert list(BUCKETS[name]) == sorted(set(BUCKETS[name]))


def test_a_bound_belongs_to_its_own_bucket():
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 2.5):
        histogram.observe(value)
    assert histogram.counts == [2, 2, 1]
    assert histogram.sum == 7.5


def test_a_series_is_the_same_each_time():
    family = Metrics().counter("attempts_total", "queue")
    assert family.series("emails") is family.series("emails")
    assert family.series("emails") is not family.series("default")


def test_a_snapshot_survives_json_and_says_everything():
    snapshot = json.loads(json.dumps(some().snapshot()))
    assert snapshot["counters"]["attempts_total"] == [
        [{"queue": "emails", "outcome": "succeeded"}, 3],
        [{"queue": "emails", "outcome": "failed"}, 1],
    ]
    assert snapshot["gauges"]["jobs_in_flight"] == [[{"queue": "emails"}, 2]]
    [[labels, counts, total]] = snapshot["histograms"]["job_wait_seconds"]
    assert labels == {"queue": "emails"}
    assert sum(counts) == 1
    assert len(counts) == len(BUCKETS["job_wait_seconds"]) + 1
    assert total == 0.2


def test_a_snapshot_does_not_change_afterwards():
    metrics = some()
    before = metrics.snapshot()
    copy = json.loads(json.dumps(before))
    metrics.histogram("job_wait_seconds", "queue").series("emails").observe(0.2)
    assert before == copy


def test_a_bounded_label_keeps_the_first_and_counts_the_rest():
    dropped = Counter()
    label = Bounded(2, dropped)
    assert [label(name) for name in "abcab"] == ["a", "b", "other", "a", "b"]
    assert dropped.value == 1


def test_a_snapshot_is_sound():
    metrics = Metrics()
    metrics.counter("attempts_total", "queue").series("emails").value = 1.5
    metrics.gauge("jobs_in_flight", "queue").series("emails").value = -2
    metrics.histogram("job_run_seconds", "queue").series("emails").observe(0.1)
    snapshot = metrics.snapshot()
    assert sound(snapshot) is snapshot
    assert sound({}) == {}


@pytest.mark.parametrize(
    "wrong",
    [
        7,
        {"counters": 7},
        {"counters": {"attempts_total": [[{"queue": "emails"}, "1"]]}},
        {"counters": {"attempts_total": [[{"queue": "emails"}, True]]}},
        {"counters": {"attempts_total": [[{"queue": "emails"}, float("nan")]]}},
        {"counters": {"attempts_total": [[{"queue": "emails"}, 10**400]]}},
        {"counters": {"attempts_total": [[{"queue": "emails"}]]}},
        {"counters": {"attempts_total": [[{"queue": "emails"}, 1, 2]]}},
        {"counters": {"attempts_total": [[{"queue": 7}, 1]]}},
        {"counters": {"attempts_total": [[{"queue": "\ud800"}, 1]]}},
        {"counters": {"attempts_total": [[{"queue": "emails"}, -1]]}},
        {"counters": {"attempts_total": [[{"queue": "x" * 3_000}, 1]]}},
        {"counters": {"attempts_total": [[dict.fromkeys("abcdef", ""), 1]]}},
        {"counters": {"attempts": [[{}, 1]]}},
        {"gauges": {"attempts_total": [[{}, 1]]}},
        {"counters": {"a b\n": [[{}, 1]]}},
        {"histograms": {"job_run_seconds": [[{}, [1, 2], 1.0]]}},
        {"histograms": {"job_run_seconds": [[{}, ["1"] * len(BUCKETS["job_run_seconds"]), 1]]}},
        {"histograms": {"job_run_seconds": [[{}, [-1] * 18, 1]]}},
        {"histograms": {"nonsuch": [[{}, [1, 2], 1.0]]}},
    ],
)
def test_what_would_spoil_a_sum_is_refused(wrong):
    with pytest.raises((ValueError, TypeError, LookupError, AttributeError)):
        sound(wrong)
