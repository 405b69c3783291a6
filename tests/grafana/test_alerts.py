"""The alert rules as a file: promtool's unit tests, the runbook, and what their haste changes."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from queued.cli import Commands
from queued.grafana import alerts
from tests.grafana.dashboard import load, panels
from tests.grafana.rules import RULES, hasty
from tests.tools import required

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))
ALERTS = {
    rule["alert"]: rule
    for group in yaml.safe_load(RULES.read_text())["groups"]
    for rule in group["rules"]
}


def promtool(*arguments: str) -> str:
    done = subprocess.run(
        [required("promtool"), *arguments],
        cwd=ROOT / "grafana",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_rules_pass_their_unit_tests() -> None:
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml")


def test_the_unit_tests_name_every_alert() -> None:
    tested = yaml.safe_load((ROOT / "grafana" / "alerts_test.yml").read_text())["tests"]
    firing = {
        case["alertname"]
        for test in tested
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }
    assert firing == ALERTS.keys()


def test_prometheus_takes_the_example_configuration_and_the_rules() -> None:
    assert "10 rules found" in promtool("check", "config", "prometheus.yml")


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_has_its_section_in_the_runbook(alert: str) -> None:
    url = ALERTS[alert]["annotations"]["runbook_url"]
    assert url == f"docs/runbook.md#{alert.lower()}"
    section = SECTIONS[alert]
    for part in ("**Symptom.**", "**Look at.**", "```sh", "**Do.**"):
        assert part in section


def test_the_runbook_names_panels_that_exist() -> None:
    titles = {panel["title"] for panel in panels(load())}
    short = {title.partition(",")[0] for title in titles}
    for name, section in SECTIONS.items():
        look = section.partition("**Look at.**")[2].partition("**Do.**")[0]
        named = re.findall(r"(?<!\*)\*([^*\n]+)\*(?!\*)", look)
        assert named, name
        assert set(named) <= titles | short, name


def test_the_runbook_names_commands_that_exist() -> None:
    assert set(re.findall(r"`queued (\w+)", RUNBOOK)) <= Commands.table.keys()


def test_haste_changes_windows_and_patience_only() -> None:
    committed, in_haste = RULES.read_text(), hasty(RULES.read_text())
    changed = [
        (old, new)
        for old, new in zip(committed.splitlines(), in_haste.splitlines(), strict=True)
        if old != new
    ]
    assert changed
    for old, new in changed:
        assert re.sub(r"(\[\d+|for: \d+)m", r"\1s", old) == new
    assert not re.search(r"\[\d+m\]|for: \d+m", in_haste)


def test_the_runbook_may_be_read_elsewhere() -> None:
    printed = yaml.safe_load(alerts("https://wiki.example.org/queued"))
    urls = {rule["annotations"]["runbook_url"] for rule in printed["groups"][0]["rules"]}
    assert urls == {f"https://wiki.example.org/queued#{alert.lower()}" for alert in ALERTS}
    assert alerts() == RULES.read_text()
