"""The plots: bars for each metric, best first, medians with the lowest and the highest value."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.results import Metric, Results, number
from benchmarks.systems import QUEUED, QUEUED_SQLITE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OURS, THEIRS = "#c2410c", "#94a3b8"
COLUMNS = 3
MAIN = ("enqueue", "drain", "drain-2")
"""For the README."""


def draw(results: Results, stem: Path) -> list[Path]:
    """Draw what several systems were measured by: all of it, and the main figures alone."""
    compared = [one for one in results.metrics.values() if len(results.values[one.name]) > 1]
    main = [one for one in compared if one.name in MAIN]
    written = []
    for metrics, path in (
        (compared, stem.with_suffix(".svg")),
        (main, stem.with_name(f"{stem.name}-main.svg")),
    ):
        if metrics:
            _draw(results, metrics, path)
            written.append(path)
    return written


def _draw(results: Results, metrics: Sequence[Metric], path: Path) -> None:
    import matplotlib as mpl  # noqa: PLC0415 - of the extra `bench`

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    columns = min(COLUMNS, len(metrics))
    rows = -(-len(metrics) // columns)
    height = 1.0 + 0.28 * max(len(results.values[one.name]) for one in metrics)
    figure, axes = plt.subplots(
        rows, columns, figsize=(5 * columns, height * rows), squeeze=False, layout="constrained"
    )
    flat: Sequence[Axes] = list(axes.flat)
    for axis, metric in zip(flat, metrics, strict=False):
        _bars(axis, results, metric)
    for axis in flat[len(metrics) :]:
        axis.axis("off")
    figure.savefig(path)
    plt.close(figure)


def _bars(axis: Axes, results: Results, metric: Metric) -> None:
    found = results.values[metric.name]
    medians = {name: results.median(metric.name, name) or 0.0 for name in found}
    names = sorted(medians, key=lambda name: medians[name], reverse=metric.lower)
    widths = [medians[name] for name in names]
    low = [medians[name] - min(found[name]) for name in names]
    high = [max(found[name]) - medians[name] for name in names]
    ours = {QUEUED.name, QUEUED_SQLITE.name}
    colours = [OURS if name in ours else THEIRS for name in names]
    bars = axis.barh(names, widths, color=colours, xerr=[low, high], error_kw={"elinewidth": 0.8})
    axis.set_title(f"{metric.title}, {metric.unit}", fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)
    if metric.lower and min(widths) > 0 and max(widths) > 50 * min(widths):
        axis.set_xscale("log")
    axis.bar_label(bars, [number(width) for width in widths], fontsize=8, padding=4)
