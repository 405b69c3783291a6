"""The dashboard as a file: what Grafana's own types, its readers and its links expect of it."""

from __future__ import annotations

import json
import re
from itertools import combinations
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from queued.cli import Commands
from queued.grafana import OLDEST_READY, dashboard
from tests.grafana.dashboard import PATH, load, panels
from tools.dashboard import text

DASHBOARD = load()
PANELS = {panel["id"]: panel for panel in panels(DASHBOARD)}
each_panel = pytest.mark.parametrize(
    "panel", [pytest.param(one, id=str(number)) for number, one in PANELS.items()]
)


def test_the_committed_file_is_what_the_tool_writes() -> None:
    assert PATH.read_text() == text(), "run `make dashboard`"


@pytest.mark.parametrize("made", [DASHBOARD, dashboard({"emails": 30.0})], ids=["file", "printed"])
def test_grafanas_own_types_know_every_key(made: dict[str, Any]) -> None:
    """Read into the SDK's models and written again, nothing is lost: there is no unknown key."""
    register_default_plugins()
    again = JSONEncoder().encode(Dashboard.from_json(json.loads(json.dumps(made))))
    assert json.loads(again) == made
    assert made["schemaVersion"] >= 42


def test_an_unknown_key_would_be_noticed() -> None:
    register_default_plugins()
    made = load()
    panels(made)[0]["fieldConfig"]["defaults"]["decimal"] = 1
    assert json.loads(JSONEncoder().encode(Dashboard.from_json(made))) != made


def test_ids_are_unique() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))


@each_panel
def test_a_panel_says_what_it_shows_and_in_which_unit(panel: dict[str, Any]) -> None:
    assert len(panel["description"]) > 40
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]


@each_panel
def test_links_lead_to_panels_that_are_there(panel: dict[str, Any]) -> None:
    for link in panel["fieldConfig"]["defaults"].get("links", []):
        if found := re.search(r"viewPanel=(\d+)", link["url"]):
            assert int(found[1]) in PANELS.keys() - {panel["id"]}


def test_panels_do_not_overlap_and_fill_their_rows() -> None:
    def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
        at = panel["gridPos"]
        return {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }

    for one, other in combinations(DASHBOARD["panels"], 2):
        assert not cells(one) & cells(other), (one["title"], other["title"])
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in PANELS.values())


def test_descriptions_name_commands_that_exist() -> None:
    said = " ".join(panel["description"] for panel in PANELS.values())
    commands = set(re.findall(r"`queued (\w+)", said))
    assert "status" in commands
    assert commands <= Commands.table.keys()


def test_each_queues_max_wait_colours_its_bar() -> None:
    made = dashboard({"critical": 5.0, "emails": 90.0})
    [panel] = [one for one in panels(made) if one["id"] == OLDEST_READY]
    [target] = panel["targets"]
    assert "queued_queue_oldest_ready_age_seconds" in target["expr"]
    assert target["legendFormat"] == "{{queue}}"  # what the overrides go by
    red = {
        override["matcher"]["options"]: properties["thresholds"]["steps"][-1]
        for override in panel["fieldConfig"]["overrides"]
        if (properties := {one["id"]: one["value"] for one in override["properties"]})
    }
    assert red == {
        "critical": {"color": "red", "value": 5.0},
        "emails": {"color": "red", "value": 90.0},
    }


def test_the_provisioning_folder_is_what_the_docs_install() -> None:
    folder = PATH.parent / "provisioning"
    [provider] = yaml.safe_load((folder / "dashboards" / "queued.yaml").read_text())["providers"]
    [source] = yaml.safe_load((folder / "datasources" / "queued.yaml").read_text())["datasources"]
    page = (PATH.parents[1] / "docs" / "grafana.md").read_text()
    assert provider["type"] == "file"
    assert f"tee {provider['options']['path']}/queued.json" in page
    [variable] = [one for one in DASHBOARD["templating"]["list"] if one["type"] == "datasource"]
    assert source["type"] == variable["query"]
