"""The kinds of panel, each drawn into one pair of axes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from matplotlib.axes import Axes
from matplotlib.dates import DateFormatter
from matplotlib.ticker import FuncFormatter, MaxNLocator

from tests.grafana.dashboard import CHOICES, substituted
from tests.grafana.prometheus import Prometheus, Series
from tools.pictures.look import (
    COLORS,
    FAINT,
    INK,
    LINE,
    WRITTEN,
    Palette,
    color_of,
    legend_of,
    overrides_of,
    step_of,
    words_of,
)

MOST = 12
"""Series in a legend, bars in a ranking, rows in a table."""
TABLE = (0.11, 0.17)
"""Shares of a table's width: of a column, of the one with the classes."""
LONG = 8
"""Characters of a figure that has to be written smaller."""


@dataclass
class Source:
    """What panels are drawn from: a Prometheus, and a time range in seconds since the epoch."""

    prometheus: Prometheus
    start: float
    end: float
    palette: Palette

    def now(self, expr: str) -> Series:
        return self.prometheus.query(self._asked(expr))

    def over_time(self, expr: str) -> Series:
        step = max(1.0, (self.end - self.start) / 240)
        return self.prometheus.query_range(self._asked(expr), self.start, self.end, step)

    def _asked(self, expr: str) -> str:
        span = {**CHOICES, "$__range": f"{self.end - self.start:.0f}s", "$__rate_interval": "15s"}
        return substituted(expr, span)


def draw(axes: Axes, panel: Mapping[str, Any], source: Source) -> None:
    """Draw a panel with its title."""
    axes.set_title(panel["title"], loc="left", fontsize=9, fontweight="bold", color=INK)
    for side in axes.spines.values():
        side.set_color(LINE)
    axes.tick_params(colors=FAINT, labelsize=7, length=0)
    KINDS[panel["type"]](axes, panel, source)


def _stat(axes: Axes, panel: Mapping[str, Any], source: Source) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    found = source.now(panel["targets"][0]["expr"])
    values = [float(series["value"][1]) for series in found]
    text, color = defaults.get("noValue", "no data"), COLORS["text"]
    if values and math.isfinite(values[0]):
        written = WRITTEN[defaults["unit"]](values[0]), color_of(values[0], defaults["thresholds"])
        text, color = words_of(panel).get(values[0], written)
    axes.set_facecolor(color)
    axes.set_xticks([])
    axes.set_yticks([])
    size = 20 if len(text) < LONG else 13
    axes.text(
        0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=size, color="w"
    )


def _ranking(axes: Axes, panel: Mapping[str, Any], source: Source) -> None:
    defaults, [target] = panel["fieldConfig"]["defaults"], panel["targets"]
    bars = [
        (legend_of(target["legendFormat"], series["metric"]), float(series["value"][1]))
        for series in source.now(target["expr"])
    ]
    bars = sorted(bars, key=lambda bar: -bar[1])[:MOST]
    shares = []
    for name, value in bars:
        own = overrides_of(panel, name)
        top = own.get("max") or max(bar[1] for bar in bars) or 1
        shares.append(
            (min(1.0, value / top), color_of(value, own.get("thresholds", defaults["thresholds"])))
        )
    places = range(len(bars))
    axes.barh(places, [1] * len(bars), color="#f3f4f6", height=0.7)
    axes.barh(
        places, [share for share, _ in shares], color=[color for _, color in shares], height=0.7
    )
    for place, (_, value) in zip(places, bars, strict=True):
        axes.text(1.02, place, WRITTEN[defaults["unit"]](value), va="center", fontsize=7, color=INK)
    axes.set_yticks(places, [name for name, _ in bars], fontsize=7)
    axes.set_xticks([])
    axes.set_xlim(0, 1.22)
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)


def _graph(axes: Axes, panel: Mapping[str, Any], source: Source) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    style = defaults["custom"]
    series = _named(panel, source)
    if not series:
        axes.text(
            0.5,
            0.5,
            defaults.get("noValue", "no data"),
            transform=axes.transAxes,
            ha="center",
            color=FAINT,
        )
    times = sorted({at for _, points in series for at in points})
    moments = [datetime.fromtimestamp(at, UTC) for at in times]
    base = [0.0] * len(times)
    width = 0.9 * (times[1] - times[0]) / 86_400 if len(times) > 1 else 1
    for name, points in series:
        own = overrides_of(panel, name)
        values = [points.get(at, math.nan) for at in times]
        color = COLORS[own["color"]["fixedColor"]] if own else source.palette(name)
        if style["drawStyle"] == "bars":
            heights = [0 if math.isnan(value) else value for value in values]
            axes.bar(moments, heights, width, bottom=base, color=color, label=name)
            base = [one + other for one, other in zip(base, heights, strict=True)]
        elif own.get("custom.stacking", style["stacking"])["mode"] == "normal":
            tops = [
                one + (0 if math.isnan(value) else value)
                for one, value in zip(base, values, strict=True)
            ]
            axes.fill_between(moments, base, tops, color=color, alpha=0.45, lw=0)
            axes.plot(moments, tops, color=color, lw=1, label=name)
            base = tops
        else:
            dashes = "--" if "custom.lineStyle" in own else "-"
            axes.plot(moments, values, color=color, lw=1.1, ls=dashes, label=name)
    _finish(axes, panel)


def _named(panel: Mapping[str, Any], source: Source) -> list[tuple[str, dict[float, float]]]:
    """Return the values of each series by time, the largest at the end first."""
    found = []
    for target in panel["targets"]:
        for series in source.over_time(target["expr"]):
            points = {float(at): float(value) for at, value in series["values"]}
            found.append((legend_of(target["legendFormat"], series["metric"]), points))
    return sorted(found, key=lambda one: -list(one[1].values())[-1])


def _finish(axes: Axes, panel: Mapping[str, Any]) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    lowest, highest = axes.dataLim.y0, axes.dataLim.y1
    lowest, highest = min(0, lowest), 1.08 * highest if highest > 0 else 1.0
    axes.set_ylim(lowest, highest)
    for step in defaults["thresholds"]["steps"]:
        if step["value"] and step["value"] <= highest:
            axes.axhline(step["value"], color=COLORS[step["color"]], lw=0.9, ls=(0, (6, 4)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: WRITTEN[defaults["unit"]](value)))
    step = step_of(defaults["unit"], highest)
    ticks = MaxNLocator(5).tick_values(lowest / step, highest / step)
    axes.set_yticks([tick * step for tick in ticks if lowest <= tick * step <= highest])
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M", tz=UTC))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.grid(color=LINE, lw=0.6)
    axes.set_axisbelow(True)
    _legend(axes)


def _legend(axes: Axes) -> None:
    """Put the names under the axes, two lines of them at most, the largest series first."""
    handles, names = axes.get_legend_handles_labels()
    if not names:
        return
    columns = max(2, min(5, 62 // (6 + max(map(len, names)))))
    shown = range(min(len(names), 2 * columns))
    by_line = sorted(shown, key=lambda place: place % columns)  # matplotlib fills columns
    axes.legend(
        [handles[place] for place in by_line],
        [names[place] for place in by_line],
        loc="upper center",
        bbox_to_anchor=(0.5, -0.1),
        ncols=min(columns, len(names)),
        fontsize=6.5,
        frameon=False,
        handlelength=1.2,
        columnspacing=1.2,
        labelcolor=FAINT,
    )


def _timeline(axes: Axes, panel: Mapping[str, Any], source: Source) -> None:
    words = words_of(panel)
    series = sorted(_named(panel, source))
    step = max(1.0, (source.end - source.start) / 240) / 86_400
    for place, (_, points) in enumerate(series):
        for at, value in points.items():
            start = datetime.fromtimestamp(at, UTC)
            axes.barh(place, step * 1.05, left=start, color=words[value][1], height=0.75, lw=0)
    axes.set_yticks(range(len(series)), [name for name, _ in series], fontsize=7)
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M", tz=UTC))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    for text, color in words.values():
        axes.plot([], [], color=color, lw=5, label=text)
    _legend(axes)


def _table(axes: Axes, panel: Mapping[str, Any], source: Source) -> None:
    tidy = next(one["options"] for one in panel["transformations"] if one["id"] == "organize")
    names: dict[str, str] = tidy["renameByName"]
    labels = [name for name in names if not name.startswith("Value")]
    rows: dict[tuple[str, ...], dict[str, float]] = {}
    for target in panel["targets"]:
        for series in source.now(target["expr"]):
            key = tuple(series["metric"].get(label, "") for label in labels)
            rows.setdefault(key, {})[f"Value #{target['refId']}"] = float(series["value"][1])
    columns = [name for name in names if name not in labels]
    some = [row for row in rows.items() if row[1].get(columns[0], 0) > 0]
    ordered = sorted(some, key=lambda row: -row[1][columns[0]])[:MOST]
    cells, colors = [], []
    for key, values in ordered:
        texts, inks = list(key), [INK] * len(key)
        for column in columns:
            value, own = values.get(column), overrides_of(panel, names[column])
            missing = value is None or math.isnan(value)
            texts.append("" if value is None or missing else WRITTEN[own["unit"]](round(value, 3)))
            steps = own.get("thresholds")
            inks.append(color_of(value, steps) if steps and value is not None else INK)
        cells.append(texts)
        colors.append(inks)
    axes.axis("off")
    made = axes.table(
        cells, colLabels=list(names.values()), loc="upper left", cellLoc="left", edges="horizontal"
    )
    made.auto_set_font_size(False)
    made.set_fontsize(7.5)
    made.scale(1, 1.25)
    for (row, column), cell in made.get_celld().items():
        cell.set_edgecolor(LINE)
        cell.set_text_props(ha="left")
        cell.set_width(TABLE[column == 1])
        cell.get_text().set_color(colors[row - 1][column] if row else FAINT)


KINDS = {
    "stat": _stat,
    "bargauge": _ranking,
    "timeseries": _graph,
    "state-timeline": _timeline,
    "table": _table,
}
