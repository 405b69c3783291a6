"""The committed dashboard as tests read it: its panels, and its queries as Prometheus gets them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

PATH = Path(__file__).parents[2] / "grafana" / "queued.json"

CHOICES = {
    "$__rate_interval": "10s",
    "$__range": "5m",
    "$instance": ".*",
    "$queue": ".*",
}
"""What Grafana puts in for variables, for everything and a scrape each second."""


def load() -> dict[str, Any]:
    """Return the dashboard."""
    made: dict[str, Any] = json.loads(PATH.read_text())
    return made


def panels(dashboard: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the panels without the rows."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def substituted(expr: str, choices: Mapping[str, str] = CHOICES) -> str:
    """Return an expression with Grafana's variables replaced."""
    for name, value in choices.items():
        expr = expr.replace(name, value)
    return expr


def queries(dashboard: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield a name and an expression for everything that the dashboard asks Prometheus for."""
    for panel in panels(dashboard):
        for target in panel["targets"]:
            yield f"{panel['id']}{target['refId']} {panel['title']}", target["expr"]
    for annotation in dashboard["annotations"]["list"]:
        yield f"annotation {annotation['name']}", annotation["expr"]
