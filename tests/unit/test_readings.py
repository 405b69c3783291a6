"""What one look says: bad, good, or unclear, and in which words."""

from __future__ import annotations

import time
from typing import Any

import pytest

from queued.daemon.metrics import Metrics
from queued.daemon.monitor.alerts.readings import Alert, Finding, Reading, Readings
from queued.daemon.monitor.collector import Sample
from queued.daemon.monitor.fleet import Fleet
from queued.daemon.monitor.recent import Recent
from queued.daemon.reach import Reach
from queued.daemon.spec import QueueSpec
from queued.drivers.base import Paused, QueueStats
from queued.errors import DriverUnavailable

POOL = {"state": "running", "desired": 2, "workers": {"idle": 1, "busy": 1}}


class Scene:
    """One queue with objectives, and everything that a monitor knows of it."""

    def __init__(self, **spec: float) -> None:
        self.fleet = Fleet()
        self.recent = Recent(5.0)
        self.reach = Reach("redis", Metrics())
        self.sample = Sample()
        queues = {"emails": QueueSpec(**spec)}
        self.readings = Readings(queues, self.fleet, self.recent, self.reach)
        self.metrics = Metrics()
        self.now = 0.0

    def answers(self, **stats: Any) -> None:
        with self.reach.watch("stats"):
            self.sample = Sample(time.time(), {"emails": QueueStats(**stats)})

    def away(self) -> None:
        with pytest.raises(DriverUnavailable), self.reach.watch("stats"):
            raise DriverUnavailable("gone")

    def pool(self, **state: object) -> None:
        told = {"owners": {}, "pools": {"emails": POOL | state}, "scopes": ["emails"]}
        self.fleet.hear({"type": "fleet", **told, "totals": {"emails": self.metrics.snapshot()}})

    def ran(self, **outcomes: int) -> None:
        """Note once before and once after these runs, or crashes."""
        for counted in ({}, outcomes):
            for name, number in counted.items():
                family = self.metrics.counter("attempts_total", "queue", "job_class", "outcome")
                family.series("emails", "app.Send", name).value += number
            self.pool()
            self.now += 60
            self.recent.note(self.fleet, self.now)

    def crashed(self, times: int) -> None:
        self.pool()
        self.recent.note(self.fleet, self.now)
        exits = self.metrics.counter("worker_exits_total", "pool", "reason")
        exits.series("emails", "signal").value += times
        self.pool()
        self.now += 60
        self.recent.note(self.fleet, self.now)

    def read(self, alert: Alert) -> Reading:
        [found] = [one for one in self.readings.take(self.sample) if one.alert is alert]
        return found

    def finding(self, alert: Alert) -> Finding:
        return self.read(alert).finding


def test_nothing_known_is_unclear_and_the_back_end_is_not_there_yet() -> None:
    scene = Scene(max_wait=5, max_failure_rate=0.05)
    found = {one.alert: one.finding for one in scene.readings.take(Sample())}
    assert found == dict.fromkeys(Alert, Finding.UNCLEAR) | {Alert.BACKEND_UNREACHABLE: Finding.BAD}


def test_only_what_has_an_objective_is_watched() -> None:
    found = {one.alert for one in Scene().readings.take(Sample())}
    assert found == {Alert.BACKEND_UNREACHABLE, Alert.POOL_FATAL, Alert.POOL_CRASHING}


def test_a_queue_that_somebody_paused_is_not_late() -> None:
    """What was thought before stays: an episode neither begins nor ends."""
    scene = Scene(max_wait=5)
    scene.answers(ready=1, oldest_ready_age_seconds=60.0, paused=Paused(since=1.0))
    assert scene.finding(Alert.QUEUE_LATE) is Finding.UNCLEAR


def test_late() -> None:
    scene = Scene(max_wait=5)
    scene.answers(ready=1, oldest_ready_age_seconds=5.1)
    found = scene.read(Alert.QUEUE_LATE)
    assert found.finding is Finding.BAD
    assert found.message == "queue emails: the oldest job has waited 5.1s, max_wait is 5s"
    assert (found.value, found.threshold) == (5.1, 5)
    scene.answers(ready=1, oldest_ready_age_seconds=5.0)
    found = scene.read(Alert.QUEUE_LATE)
    assert found.finding is Finding.GOOD
    assert found.message == "queue emails: no job waits longer than 5s"


def test_an_old_sample_says_nothing_of_waits() -> None:
    scene = Scene(max_wait=5)
    scene.answers(ready=1, oldest_ready_age_seconds=60)
    scene.away()
    assert scene.finding(Alert.QUEUE_LATE) is Finding.UNCLEAR
    scene.answers(ready=1, oldest_ready_age_seconds=60)
    scene.sample.at -= 11
    assert scene.finding(Alert.QUEUE_LATE) is Finding.UNCLEAR


@pytest.mark.parametrize(
    ("outcomes", "finding"),
    [
        ({"succeeded": 18, "failed": 2}, Finding.BAD),
        ({"succeeded": 17, "retried": 1, "timed_out": 1, "lost": 1}, Finding.BAD),
        ({"succeeded": 17, "failed": 2}, Finding.UNCLEAR),  # too few to tell
        ({"failed": 3}, Finding.UNCLEAR),
        ({"succeeded": 95, "failed": 5}, Finding.UNCLEAR),  # at the limit
        ({"succeeded": 955, "failed": 45}, Finding.UNCLEAR),  # not clearly below it
        ({"succeeded": 96, "failed": 4}, Finding.GOOD),
        ({"succeeded": 1, "released": 100}, Finding.GOOD),
        ({}, Finding.GOOD),
    ],
)
def test_failing(outcomes: dict[str, int], finding: Finding) -> None:
    scene = Scene(max_failure_rate=0.05)
    scene.ran(**outcomes)
    assert scene.finding(Alert.QUEUE_FAILING) is finding


def test_failing_in_words() -> None:
    scene = Scene(max_failure_rate=0.05)
    scene.ran(succeeded=30, failed=10)
    found = scene.read(Alert.QUEUE_FAILING)
    assert found.message == (
        "queue emails: 25% of 40 runs of the last 1m failed, max_failure_rate is 5%"
    )
    assert (found.value, found.threshold) == (0.25, 0.05)


def test_a_pool_that_was_given_up() -> None:
    scene = Scene()
    scene.pool(state="fatal", workers={"fatal": 1, "idle": 1})
    found = scene.read(Alert.POOL_FATAL)
    assert found.finding is Finding.BAD
    assert found.message == (
        "pool emails: a worker crashed too often and is given up; 1 of 2 workers run"
    )
    for state in ("starting", "backoff", "stopping"):
        scene.pool(state=state)
        assert scene.finding(Alert.POOL_FATAL) is Finding.UNCLEAR
    scene.pool()
    assert scene.finding(Alert.POOL_FATAL) is Finding.GOOD
    scene.fleet.heard_at -= 11  # the master hangs
    assert scene.finding(Alert.POOL_FATAL) is Finding.UNCLEAR


@pytest.mark.parametrize(
    ("times", "finding"),
    [(6, Finding.BAD), (5, Finding.UNCLEAR), (2, Finding.UNCLEAR), (1, Finding.GOOD)],
)
def test_a_pool_that_crashes_again_and_again(times: int, finding: Finding) -> None:
    scene = Scene()
    scene.crashed(times)
    found = scene.read(Alert.POOL_CRASHING)
    assert found.finding is finding
    plural = "time" if times == 1 else "times"
    assert found.message == f"pool emails: workers crashed {times} {plural} in the last 1m"


def test_a_pool_that_was_given_up_is_not_called_crashing_too() -> None:
    scene = Scene()
    scene.crashed(6)
    scene.pool(state="fatal")
    assert scene.finding(Alert.POOL_CRASHING) is Finding.UNCLEAR


def test_the_back_end() -> None:
    scene = Scene()
    scene.answers()
    assert scene.finding(Alert.BACKEND_UNREACHABLE) is Finding.GOOD
    scene.away()
    found = scene.read(Alert.BACKEND_UNREACHABLE)
    assert found.finding is Finding.BAD
    assert found.message == "the back-end (redis) has not answered for 0s"
    assert found.subject == "redis"
