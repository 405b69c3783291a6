"""Every query of the dashboard returns data, and every alert fires, in a real Prometheus.

It scrapes real daemons: see ``scene.py`` for what is wrong with them. All faults are caused at
once, and each test waits for what it looks for.
"""

from __future__ import annotations

import math
import re

import pytest
import yaml

from tests.grafana.dashboard import load, queries, substituted
from tests.grafana.rules import RULES
from tests.grafana.scene import Scene
from tests.process.harness import until

DASHBOARD = load()
ALERTS = [rule["alert"] for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]]

FIRES_FOR = {
    "QueuedDown": {"instance": "mine", "job": "queued", "severity": "page"},
    "QueuedDriverDown": {"instance": "outpost", "driver": "redis", "severity": "page"},
    "QueuedOldestJobTooOld": {"queue": "feeds", "severity": "page"},
    "QueuedStalled": {"queue": "feeds", "severity": "page"},
    "QueuedDrainTimeTooLong": {"queue": "reports", "severity": "ticket"},
    "QueuedFailureRatioHigh": {
        "queue": "emails",
        "job_class": "shop.SendEmail",
        "severity": "ticket",
    },
    "QueuedLeaseLost": {"queue": "mining", "severity": "ticket"},
    "QueuedPoolCrashLoop": {"instance": "shop", "pool": "images", "severity": "page"},
    "QueuedWorkersMissing": {"instance": "shop", "pool": "archive", "severity": "ticket"},
    "QueuedLoopBlocked": {"pool": "stock", "severity": "ticket"},
}
"""The labels of the episode that the scene causes."""


@pytest.mark.parametrize("expr", [pytest.param(expr, id=name) for name, expr in queries(DASHBOARD)])
def test_a_query_of_the_dashboard_returns_data(scene: Scene, expr: str) -> None:
    asked = substituted(expr)
    assert "$" not in asked

    def has_data() -> bool:
        values = [float(series["value"][1]) for series in scene.prometheus.query(asked)]
        return any(map(math.isfinite, values))

    until(has_data, f"data for {asked}", every=0.25)


@pytest.mark.parametrize("variable", ["instance", "queue"])
def test_a_variable_has_values(scene: Scene, variable: str) -> None:
    [found] = [one for one in DASHBOARD["templating"]["list"] if one["name"] == variable]
    asked = re.fullmatch(r"label_values\((.+), (\w+)\)", substituted(found["query"]["query"]))
    assert asked
    expected = {"instance": {"shop", "outpost"}, "queue": {"critical", "emails", "feeds"}}
    assert expected[variable] <= set(scene.prometheus.label_values(asked[2], asked[1]))


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_fires(scene: Scene, alert: str) -> None:
    labels = FIRES_FOR[alert]
    matchers = ",".join(f'{name}="{value}"' for name, value in labels.items())
    fired = f'max_over_time(ALERTS{{alertname="{alert}",alertstate="firing",{matchers}}}[10m])'
    until(lambda: scene.prometheus.query(fired), f"{alert} for {labels}", every=0.25)


def test_what_is_well_sets_off_none_of_the_alerts_that_name_a_fault(scene: Scene) -> None:
    """Beside those of waiting and lag, which a machine under load may set off for any queue."""
    faults = "QueuedFailureRatioHigh|QueuedDrainTimeTooLong|QueuedLeaseLost|QueuedPoolCrashLoop"
    fired = f'max_over_time(ALERTS{{alertname=~"{faults}",alertstate="firing"}}[10m])'

    def all_fired() -> bool:
        names = {series["metric"]["alertname"] for series in scene.prometheus.query(fired)}
        return names == set(faults.split("|"))

    until(all_fired, "each of them to fire for something", every=0.25)
    labels = [series["metric"] for series in scene.prometheus.query(fired)]
    assert "critical" not in {one.get("queue", one.get("pool")) for one in labels}


def test_no_rule_fails(scene: Scene) -> None:
    rules = until(
        lambda: [rule for rule in scene.prometheus.rules() if rule["health"] != "unknown"],
        "the rules to be evaluated",
    )
    assert {rule["name"]: rule.get("lastError", "") for rule in rules} == dict.fromkeys(ALERTS, "")
