"""The Grafana dashboard and the alert rules beside this file, as one configuration wants them.

queued.json is written by tools/dashboard, which has the panels in a form that people can read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

OLDEST_READY = 109
"""The id of the panel with a bar for each queue's oldest ready job."""
RUNBOOK = "docs/runbook.md"
"""What the rules' ``runbook_url`` begins with."""


def dashboard(max_waits: Mapping[str, float]) -> dict[str, Any]:
    """Return the dashboard with each queue's bar coloured, and full, by its own objective.

    :param max_waits: seconds that the jobs of each queue may wait.
    """
    made: dict[str, Any] = json.loads(_text("queued.json"))
    [panel] = [one for one in made["panels"] if one["id"] == OLDEST_READY]
    panel["fieldConfig"]["overrides"] += [
        {
            "matcher": {"id": "byName", "options": queue},
            "properties": [
                {"id": "max", "value": max_wait},
                {"id": "thresholds", "value": _thresholds(max_wait)},
            ],
        }
        for queue, max_wait in max_waits.items()
    ]
    return made


def _thresholds(max_wait: float) -> dict[str, Any]:
    colors = [("green", None), ("yellow", max_wait / 2), ("red", max_wait)]
    return {
        "mode": "absolute",
        "steps": [{"color": color, "value": value} for color, value in colors],
    }


def alerts(runbook: str = RUNBOOK) -> str:
    """Return the alert rules, as YAML.

    :param runbook: the address of the page that their ``runbook_url`` points into.
    """
    return _text("alerts.yml").replace(f'"{RUNBOOK}#', f'"{runbook}#')


def _text(name: str) -> str:
    return files(__name__).joinpath(name).read_text(encoding="utf-8")
