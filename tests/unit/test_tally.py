"""How snapshots are added up, and how names from outside are bounded over all of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queued.daemon.metrics import OTHER, Metrics, Snapshot
from queued.daemon.tally import LIMITS, Names, Tally, rows, scope_of, zero


def total(*snapshots: Snapshot) -> Snapshot:
    tally = Tally()
    for snapshot in snapshots:
        for kind, name, row in rows(snapshot):
            tally.add(kind, name, *row)
    return tally.snapshot()


def some() -> Snapshot:
    metrics = Metrics()
    attempts = metrics.counter("attempts_total", "queue", "outcome")
    attempts.series("emails", "succeeded").value += 3
    metrics.gauge("jobs_in_flight", "queue").series("emails").value = 2
    metrics.histogram("job_wait_seconds", "queue").series("emails").observe(0.2)
    return metrics.snapshot()


def test_what_has_the_same_labels_is_added_in_any_order_of_them() -> None:
    a: Snapshot = {"counters": {"n": [[{"x": "1", "y": "2"}, 1]]}}
    b: Snapshot = {"counters": {"n": [[{"y": "2", "x": "1"}, 2], [{"x": "1", "y": "3"}, 5]]}}
    added = total(a, b)["counters"]["n"]
    assert added == [[{"x": "1", "y": "2"}, 3], [{"x": "1", "y": "3"}, 5]]


def test_gauges_are_added_too() -> None:
    assert total(some(), some())["gauges"] == {"jobs_in_flight": [[{"queue": "emails"}, 4]]}


def test_what_is_added_stays_as_it_is() -> None:
    a, b = some(), some()
    before = json.dumps([a, b])
    total(a, b, a)
    assert json.dumps([a, b]) == before


def test_histograms_of_other_buckets_are_refused() -> None:
    a: Snapshot = {"histograms": {"h": [[{}, [1, 2], 1.0]]}}
    b: Snapshot = {"histograms": {"h": [[{}, [1, 2, 3], 1.0]]}}
    with pytest.raises(ValueError, match="h: 3 buckets, not 2"):
        total(a, b)


values = st.dictionaries(st.sampled_from("abc"), st.integers(0, 9), max_size=3)


def snapshot_of(counts: dict[str, int]) -> Snapshot:
    metrics = Metrics()
    for label, count in counts.items():
        metrics.counter("n", "x").series(label).value += count
        for _ in range(count):
            metrics.histogram("job_wait_seconds", "x").series(label).observe(1.0)
    return metrics.snapshot()


def by_label(snapshot: Snapshot) -> dict[Any, Any]:
    return {(name, labels["x"]): value for _, name, (labels, *value) in rows(snapshot)}


@given(values, values, values)
def test_a_sum_of_sums_is_the_sum(x: Any, y: Any, z: Any) -> None:
    a, b, c = map(snapshot_of, (x, y, z))
    assert by_label(total(total(a, b), c)) == by_label(total(a, total(b, c)))
    assert by_label(total(a, {})) == by_label(a) == by_label(total({}, a))


def test_a_series_belongs_to_its_queue_or_pool_or_to_the_whole() -> None:
    assert scope_of({"queue": "emails", "error": "x"}) == "emails"
    assert scope_of({"pool": "emails", "reason": "x"}) == "emails"
    assert scope_of({"driver": "redis"}) == ""


def test_a_row_at_zero() -> None:
    assert zero([{"x": "1"}, 5]) == [{"x": "1"}, 0]
    assert zero([{"x": "1"}, [1, 2], 0.5]) == [{"x": "1"}, [0, 0], 0]


@pytest.mark.parametrize("label", LIMITS)
def test_the_first_names_stay_and_others_are_counted_together(label: str) -> None:
    names, limit = Names(), LIMITS[label]
    first = [f"E{n}" for n in range(limit)]
    for name in [*first, "late", *first]:
        bound = names.bound({"queue": "q", label: name}, admit=True)
        assert bound == {"queue": "q", label: OTHER if name == "late" else name}


def test_without_leave_a_name_is_undecided_until_there_is_no_room() -> None:
    names = Names()
    new = {"error": "New"}
    assert names.bound(new, admit=False) is None
    for n in range(LIMITS["error"]):
        names.bound({"error": f"E{n}"}, admit=True)
    assert names.bound(new, admit=False) == {"error": OTHER}
    assert new == {"error": "New"}


def test_other_itself_takes_no_room() -> None:
    names = Names()
    assert names.bound({"error": OTHER}, admit=False) == {"error": OTHER}
    assert names.bound({"queue": "q"}, admit=False) == {"queue": "q"}


def test_series_beyond_the_most_are_left_out_and_those_before_go_on() -> None:
    tally = Tally(most=2)
    for n in (1, 2, 3, 1, 3):
        tally.add("counters", "n_total", {"x": str(n)}, 1)
    assert tally.snapshot()["counters"]["n_total"] == [[{"x": "1"}, 2], [{"x": "2"}, 1]]
