"""What Grafana decides by itself: how a number is written, which colour a value or a series has."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

COLORS = {
    "green": "#3b9c4b",
    "yellow": "#e0a800",
    "orange": "#f2711c",
    "red": "#d03b3b",
    "purple": "#8f5bd0",
    "blue": "#3f7fd0",
    "text": "#8a8f98",
}
PALETTE = [
    "#3f7fd0", "#3b9c4b", "#e0a800", "#d03b3b", "#8f5bd0", "#1fa3a3",
    "#f2711c", "#a35c3a", "#c2508f", "#6b7280", "#7a9c1f", "#2b4c8c",
]  # fmt: skip
KILO = 1000
INK, FAINT, LINE = "#24292f", "#6b7280", "#e3e6ea"


class Palette:
    """A colour for each name, the same on every panel."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def __call__(self, name: str) -> str:
        return self._known.setdefault(name, PALETTE[len(self._known) % len(PALETTE)])


def _seconds(value: float) -> str:
    for size, unit in ((3600, "h"), (60, "min"), (1, "s")):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1000:.3g} ms"


def _bytes(value: float) -> str:
    for size, unit in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g} B"


def _short(value: float) -> str:
    return f"{value / KILO:.3g} K" if abs(value) >= KILO else f"{value:.3g}"


WRITTEN: dict[str, Callable[[float], str]] = {
    "s": lambda value: _seconds(value) if value else "0 s",
    "bytes": _bytes,
    "percentunit": lambda value: f"{value * 100:.0f}%" if value >= 1 else f"{value * 100:.3g}%",
    "suffix: /s": lambda value: f"{_short(value)} /s",
    "short": _short,
}
"""By Grafana's name of the unit."""


_SIZES = {"s": (1, 60, 3600), "bytes": (1 << 10, 1 << 20, 1 << 30)}


def step_of(unit: str, highest: float) -> float:
    """Return what the ticks of an axis up to a value should be round multiples of."""
    return max((size for size in _SIZES.get(unit, ()) if size * 2 <= highest), default=1)


def color_of(value: float, thresholds: Mapping[str, Any]) -> str:
    """Return the colour that the thresholds give a value."""
    color = ""
    for step in thresholds["steps"]:
        if step["value"] is None or value >= step["value"]:
            color = step["color"]
    return COLORS[color]


def words_of(panel: Mapping[str, Any]) -> dict[float, tuple[str, str]]:
    """Return text and colour of the values that a panel has words for."""
    return {
        float(value): (result["text"], COLORS[result["color"]])
        for mapping in panel["fieldConfig"]["defaults"].get("mappings", [])
        for value, result in mapping["options"].items()
    }


def legend_of(template: str, labels: Mapping[str, str]) -> str:
    """Return the name of a series."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), template).strip()


def overrides_of(panel: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the properties that a panel gives to the series of this name."""
    found: dict[str, Any] = {}
    for override in panel["fieldConfig"]["overrides"]:
        kind, what = override["matcher"]["id"], override["matcher"]["options"]
        if (kind == "byName" and what == name) or (
            kind == "byRegexp" and re.search(what.strip("/"), name)
        ):
            found |= {one["id"]: one["value"] for one in override["properties"]}
    return found
