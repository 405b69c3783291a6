"""Draw the rows of the dashboard into docs/images, from a scene that runs for some minutes."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from PIL import Image

from tests.grafana.rules import RULES, hasty
from tests.grafana.scene import Scene
from tests.tools import required
from tools.pictures.draw import Source, draw
from tools.pictures.look import Palette

mpl.use("agg")
IMAGES = Path(__file__).parents[2] / "docs" / "images"
ROWS = ("health", "queues", "pools", "failures", "crashes", "backend")
"""The pictures, in the order of the dashboard's rows; the daemon's own row has none."""
COLUMN, ROW = 0.54, 0.36
"""Inches of a column of Grafana's grid, and of a row."""


def rows(made: Mapping[str, Any]) -> list[list[dict[str, Any]]]:
    """Return the panels of each row of the dashboard."""
    found: list[list[dict[str, Any]]] = []
    for panel in made["panels"]:
        if panel["type"] == "row":
            found.append([])
        else:
            found[-1].append(panel)
    return found


def picture(panels: list[dict[str, Any]], source: Source, path: Path) -> None:
    """Draw panels where the dashboard has them."""
    import matplotlib.pyplot as plt  # noqa: PLC0415 - after the choice of the back-end

    top = min(panel["gridPos"]["y"] for panel in panels)
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels) - top + 0.3
    figure = plt.figure(figsize=(24 * COLUMN, height * ROW), facecolor="white")
    for panel in panels:
        at = panel["gridPos"]
        small = panel["type"] == "stat"
        left, right, above, below = (0.1, 0.1, 0.8, 0.15) if small else (1.5, 0.35, 0.9, 1.6)
        if panel["type"] in {"bargauge", "state-timeline"}:
            left = 2.5
        if panel["type"] == "table":
            left, right = 0.1, 0.3
        axes = figure.add_axes(
            (
                (at["x"] + left) / 24,
                1 - (at["y"] - top + at["h"] - below) / height,
                (at["w"] - left - right) / 24,
                (at["h"] - above - below) / height,
            )
        )
        draw(axes, panel, source)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    with Image.open(path) as drawn:  # a third of the size
        drawn.convert("RGB").quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=420, help="how long the scene runs")
    parser.add_argument("--to", type=Path, default=IMAGES, help="the folder of the pictures")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rules = Path(folder) / "alerts.yml"
        rules.write_text(hasty(RULES.read_text()))
        scene = Scene(required("prometheus"), Path(folder), rules)
        try:
            start = time.time()
            scene.open()
            time.sleep(chosen.seconds * 0.6)
            scene.break_everything()
            time.sleep(chosen.seconds * 0.4)
            made = json.loads(scene.shop.run("grafana").stdout)
            source = Source(scene.prometheus, start, time.time(), Palette())
            for name, panels in zip(ROWS, rows(made), strict=False):
                path = chosen.to / f"grafana-{name}.png"
                picture(panels, source, path)
                sys.stdout.write(f"{path}\n")
        finally:
            scene.close()


if __name__ == "__main__":
    main()
