"""``queued grafana``: the dashboard and the rules, as they are copied into place."""

from __future__ import annotations

import pytest
import yaml

from tests.unit.commands import Application, application

app = pytest.fixture(application)


def test_it_prints_the_dashboard_with_each_queues_objective(app: Application) -> None:
    app.configure("queues: {critical: {max_wait: 5s}, emails: {max_wait: 2m}, default: }")
    answer = app("grafana")
    assert answer.code == 0
    made = answer.json
    assert made["uid"] == "queued"
    thresholds = {
        override["matcher"]["options"]: override["properties"][1]["value"]["steps"][-1]["value"]
        for panel in made["panels"]
        for override in panel.get("fieldConfig", {}).get("overrides", [])
        if override["matcher"]["id"] == "byName" and panel["type"] == "bargauge"
    }
    assert thresholds == {"critical": 5, "emails": 120}


def test_it_prints_the_rules_without_a_configuration(app: Application) -> None:
    (app.folder / "queue.yaml").unlink()
    rules = yaml.safe_load(app("grafana", "--alerts").out)["groups"][0]["rules"]
    assert len(rules) == 10
    answer = app("grafana", "--alerts", "--runbook", "https://wiki.example.org/q")
    [rule, *_] = yaml.safe_load(answer.out)["groups"][0]["rules"]
    assert rule["annotations"]["runbook_url"] == "https://wiki.example.org/q#queueddown"


def test_what_makes_no_sense_is_refused(app: Application) -> None:
    assert "--alerts" in app("grafana", "--runbook", "https://wiki.example.org/q").err
    for text in ('x"y', "https://wiki.example.org/q#there", "{{ $labels }}"):
        answer = app("grafana", "--alerts", "--runbook", text)
        assert answer.code == 2, text
        assert answer.out == ""
    app.configure("queues: {emails: {max_wait: soon}}")
    assert app("grafana").code == 78
