"""From queue.yaml to blueprints, and what a reload says that differs."""

from __future__ import annotations

import pytest

from queued.config.load import load
from queued.daemon.master.plan import Plan, changes, plan
from queued.daemon.master.scaling import Bounds
from queued.daemon.spec import ScheduleSpec

BASE = """
connection: sqlite:///queued.db
imports: [app.jobs]
http: {listen: "127.0.0.1:9470", token: "hunter2"}
tracing: app.telemetry.setup
shutdown_grace: 20s
defaults: {timeout: 30, max_tries: 5}
queues:
  emails: {processes: 2, concurrency: 7, sleep: 1, backoff: [1, 2], max_memory: 64MiB,
           max_wait: 5s, env: {MODE: fast}, nice: 3, kill_grace: 2s, polling: true,
           slow_after: 10s}
  slow: {timeout: none, retry_after: 10}
"""


@pytest.fixture
def planned(tmp_path):
    def make(text: str = BASE, **replace: str) -> Plan:
        for old, new in replace.items():
            text = text.replace(old, new)
        (tmp_path / "queue.yaml").write_text(text)
        return plan(load(tmp_path / "queue.yaml", {}), "0000000a", "0000000b")

    return make


def test_every_setting_reaches_the_blueprint(planned, tmp_path):
    asked = planned()
    assert asked.code.imports == ("app.jobs", "app.telemetry:setup")
    assert asked.code.folder == tmp_path
    assert asked.code.url == f"sqlite:///{tmp_path}/queued.db"
    assert asked.grace == 20
    emails = asked.pools["emails"]
    assert emails.processes == 2
    blueprint = emails.blueprint
    assert (blueprint.pool, blueprint.concurrency, blueprint.sleep) == ("emails", 7, 1)
    assert (blueprint.limits.timeout, blueprint.limits.max_tries) == (30, 5)
    assert blueprint.limits.backoff == [1, 2]
    assert blueprint.max_memory == 64 * 1024 * 1024
    assert blueprint.slow_after == 10
    assert (blueprint.nice, blueprint.kill_grace, blueprint.polling) == (3, 2, True)
    assert blueprint.env == {"MODE": "fast"}
    assert blueprint.shutdown_grace == 20
    assert blueprint.tracing == "app.telemetry:setup"
    slow = asked.pools["slow"].blueprint
    assert (slow.limits.timeout, slow.limits.retry_after) == (0, 10)


def test_the_monitor_knows_the_queues(planned):
    monitor = planned().monitor
    assert (monitor.install, monitor.boot) == ("0000000a", "0000000b")
    assert monitor.queues["emails"].max_wait == 5
    assert monitor.queues["slow"].max_wait is None
    assert monitor.http_token == "hunter2"


def test_a_blueprint_crosses_a_fork(planned):
    for one in planned().pools.values():
        assert type(one.blueprint).from_json(one.blueprint.to_json()) == one.blueprint


def test_no_difference(planned):
    assert changes(planned(), planned()) == []
    assert planned() == planned()


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("processes: 2", "processes: 3", "queues.emails.processes: 2 → 3"),
        ("processes: 2", "processes: {max: 4}", "queues.emails.processes: 2 → 1..4"),
        ("concurrency: 7", "concurrency: 8", "queues.emails: concurrency changed; its workers are"),
        ("max_tries: 5", "max_tries: 6", "queues.emails: limits changed; its workers are replaced"),
        (
            ": 7, sleep",
            ": 7, rate_limit: 5/s, sleep",
            "queues.emails: rate_limit changed; its work",
        ),
        ("[app.jobs]", "[app.jobs, b]", "imports: app.jobs, b"),
        ("tracing: app.telemetry.setup", "", "imports: app.jobs"),
        ("9470", "9471", "http: 127.0.0.1:9471"),
        ("hunter2", "hunter3", "http: 127.0.0.1:9470"),
        ("queued.db", "other.db", "connection: changed; every process is replaced"),
        ("  slow: {timeout: none, retry_after: 10}", "  new: {}", "queues.new: new, 1 worker"),
        ("shutdown_grace: 20s", "log: {level: debug}", "log: level debug"),
    ],
)
def test_each_difference_is_said(planned, old, new, line):
    lines = changes(planned(), planned(**{old: new}))
    assert any(one.startswith(line) for one in lines), lines
    assert "hunter" not in "\n".join(lines)


def test_schedules_reach_the_monitor_and_their_changes_are_said(planned):
    base = BASE + "schedule: {a: {every: 5m, job: x}, b: {every: 5m, job: x}}"
    asked = planned(base)
    assert asked.monitor.schedules["a"] == ScheduleSpec(job="x", queue="default", every=300)
    other = BASE + "schedule: {b: {every: 6m, job: x}, c: {every: 5m, job: x}}"
    assert changes(asked, planned(other)) == [
        "schedule.a: removed",
        "schedule.b: changed",
        "schedule.c: new",
    ]


def test_a_removed_queue_is_said(planned):
    lines = changes(planned(), planned(**{"  slow: {timeout: none, retry_after: 10}": ""}))
    assert lines == ["queues.slow: removed; its workers drain"]


@pytest.mark.parametrize("other", ["6/s", "{jobs: 5, per: 1s, burst: 1}", "none"])
def test_a_rate_limit_that_changes_is_said(planned, other):
    old, new = ({"nice: 3": f"rate_limit: {limit}"} for limit in ("5/s", other))
    assert planned(**old).pools["emails"].blueprint.rate_limit == (0.2, 5)
    line = "queues.emails: rate_limit changed; its workers are replaced"
    assert changes(planned(**old), planned(**new)) == [line]
    same = {"nice: 3": "rate_limit: {jobs: 300, per: 1m}"}
    assert changes(planned(**old), planned(**same)) == []


def test_a_range_begins_at_its_least(planned):
    pool = planned(**{"processes: 2": "processes: {min: 2, max: 8, cooldown: 10s}"}).pools["emails"]
    assert (pool.processes, pool.bounds) == (2, Bounds(2, 8, 10.0))


def test_a_range_that_changes_is_said(planned):
    ranged = {"processes: 2": "processes: {max: 4}"}
    slower = {"processes: 2": "processes: {max: 4, cooldown: 1m}"}
    assert changes(planned(**ranged), planned(**slower)) == [
        "queues.emails.processes.cooldown: changed"
    ]
    new = {"  slow: {timeout: none, retry_after: 10}": "  new: {processes: {max: 4}}"}
    assert "queues.new: new, 1..4 workers" in changes(planned(), planned(**new))
