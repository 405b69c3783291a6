"""The kinds of panel that the dashboard has, in the types of Grafana's own SDK."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders.dashboard import (
    DashboardLink,
    FieldColor,
    Panel,
    ThresholdsConfig,
)
from grafana_foundation_sdk.models import bargauge, common, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models.dashboard import (
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)

from tools.dashboard.spec import DATASOURCE, RED, Query, Spec, Steps

Words = Mapping[str, tuple[str, str]]
"""Text and colour of each value, for numbers that are no amounts."""

LAST = common.ReduceDataOptions(calcs=["lastNotNull"])


def _panel(spec: Spec, kind: str, queries: Sequence[Query], color: FieldColorModeId) -> Panel:
    steps = [Threshold(value, colour) for value, colour in spec.steps]
    panel = (
        Panel()
        .type(kind)
        .id(spec.id)
        .title(spec.title)
        .description(spec.about)
        .datasource(DATASOURCE)
        .span(spec.width)
        .height(spec.height)
        .unit(spec.unit)
        .color_scheme(FieldColor().mode(color))
        .thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
        .data_links([DashboardLink(title).url(url) for title, url in spec.links.items()])
        .targets([query.build().ref_id(ref) for ref, query in zip("ABCDEFGH", queries)])  # noqa: B905  as many as there are
        .overrides([])
    )
    if spec.nothing:
        panel = panel.no_value(spec.nothing)
    return panel if spec.top is None else panel.max(spec.top)


def _mapping(words: Words) -> ValueMap:
    return ValueMap(
        {
            value: ValueMappingResult(text=text, color=color)
            for value, (text, color) in words.items()
        }
    )


def figure(spec: Spec, words: Words | None = None) -> Panel:
    """Return one large number, now, on a colour that says how bad it is."""
    queries = [
        Query(expr=expr, legend=legend, instant=True) for legend, expr in spec.queries.items()
    ]
    options = stat.Options(
        graph_mode=common.BigValueGraphMode.NONE,
        color_mode=common.BigValueColorMode.BACKGROUND,
        justify_mode=common.BigValueJustifyMode.CENTER,
        text_mode=common.BigValueTextMode.VALUE,
        reduce_options=LAST,
    )
    panel = _panel(spec, "stat", queries, FieldColorModeId.THRESHOLDS).options(options)
    return panel.mappings([_mapping(words)]) if words else panel


def ranking(spec: Spec) -> Panel:
    """Return a bar for each series, as it is now, coloured by the thresholds."""
    queries = [
        Query(expr=expr, legend=legend, instant=True) for legend, expr in spec.queries.items()
    ]
    options = bargauge.Options(
        display_mode=common.BarGaugeDisplayMode.BASIC,
        value_mode=common.BarGaugeValueMode.TEXT,
        orientation=common.VizOrientation.HORIZONTAL,
        reduce_options=LAST,
        show_unfilled=True,
        min_viz_height=16,
    )
    panel = _panel(spec, "bargauge", queries, FieldColorModeId.THRESHOLDS)
    return panel.options(options).min(0)


def graph(
    spec: Spec,
    *,
    stacked: bool = False,
    bars: bool = False,
    objective: str | None = None,
    colors: Mapping[str, str] | None = None,
) -> Panel:
    """Return lines over time; thresholds are dashed lines.

    :param objective: a pattern of the legends that tell what should be, not what is.
    :param colors: the colour of each legend that has one of its own.
    """
    queries = [Query(expr=expr, legend=legend) for legend, expr in spec.queries.items()]
    panel = _panel(spec, "timeseries", queries, FieldColorModeId.PALETTE_CLASSIC)
    panel = panel.options(_GRAPH).custom(_style(spec.steps, stacked=stacked, bars=bars))
    for legend, color in (colors or {}).items():
        panel = panel.override_by_name(legend, [_fixed(color)])
    return panel.override_by_regexp(f"/{objective}/", _OBJECTIVE) if objective else panel


def _fixed(color: str) -> DynamicConfigValue:
    return DynamicConfigValue("color", {"mode": "fixed", "fixedColor": color})


_OBJECTIVE = [
    DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [10, 10]}),
    DynamicConfigValue("custom.fillOpacity", 0),
    DynamicConfigValue("custom.stacking", {"mode": "none"}),
    _fixed(RED),
]


_GRAPH = timeseries.Options(
    legend=common.VizLegendOptions(
        display_mode=common.LegendDisplayMode.TABLE,
        placement=common.LegendPlacement.BOTTOM,
        show_legend=True,
        calcs=["lastNotNull", "max"],
        sort_by="Last *",
        sort_desc=True,
    ),
    tooltip=common.VizTooltipOptions(
        mode=common.TooltipDisplayMode.MULTI, sort=common.SortOrder.DESCENDING
    ),
)


def _style(steps: Steps, *, stacked: bool, bars: bool) -> timeseries.FieldConfig:
    stacking = common.StackingMode.NORMAL if stacked else common.StackingMode.NONE
    has_limits = len(steps) > 1
    limits = common.GraphThresholdsStyleMode.DASHED if has_limits else None
    return timeseries.FieldConfig(
        draw_style=common.GraphDrawStyle.BARS if bars else common.GraphDrawStyle.LINE,
        line_width=1,
        fill_opacity=70 if bars else 25 if stacked else 8,
        show_points=common.VisibilityMode.AUTO,
        axis_soft_min=0,
        stacking=common.StackingConfig(mode=stacking, group="A"),
        thresholds_style=common.GraphThresholdsStyleConfig(
            mode=limits or common.GraphThresholdsStyleMode.OFF
        ),
    )


def timeline(spec: Spec, words: Words) -> Panel:
    """Return a band for each series, in the words and colours of its values."""
    queries = [Query(expr=expr, legend=legend) for legend, expr in spec.queries.items()]
    options = statetimeline.Options(
        show_value=common.VisibilityMode.AUTO,
        row_height=0.8,
        merge_values=True,
        legend=common.VizLegendOptions(
            display_mode=common.LegendDisplayMode.LIST,
            placement=common.LegendPlacement.BOTTOM,
            show_legend=True,
            calcs=[],
        ),
        tooltip=common.VizTooltipOptions(
            mode=common.TooltipDisplayMode.SINGLE, sort=common.SortOrder.NONE
        ),
    )
    panel = _panel(spec, "state-timeline", queries, FieldColorModeId.THRESHOLDS).options(options)
    return panel.custom(statetimeline.FieldConfig(fill_opacity=80)).mappings([_mapping(words)])


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of numbers."""

    title: str
    expr: str
    unit: str = "short"
    steps: Steps = ()


def sheet(spec: Spec, by: Mapping[str, str], columns: Sequence[Column]) -> Panel:
    """Return a table of what is now: a row for each set of labels, the first column's above 0.

    :param by: title of each label's column.
    """
    fields = {f"Value #{ref}": one.title for ref, one in zip("ABCDEFGH", columns)}  # noqa: B905  as many as there are
    names = {**by, **fields} if len(columns) > 1 else {**by, "Value": columns[0].title}
    tidy = {
        "excludeByName": {"Time": True},
        "indexByName": {name: place for place, name in enumerate(names)},
        "renameByName": names,
    }
    queries = [Query(expr=one.expr, table=True) for one in columns]
    first = columns[0].title
    some = {"fieldName": first, "config": {"id": "greater", "options": {"value": 0}}}
    only = {"filters": [some], "type": "include", "match": "any"}
    highest = common.TableSortByFieldState(display_name=first, desc=True)
    panel = (
        _panel(spec, "table", queries, FieldColorModeId.THRESHOLDS)
        .options(table.Options(show_header=True, sort_by=[highest]))
        .custom(common.TableFieldOptions(align=common.FieldTextAlignment.AUTO, inspect=False))
        .with_transformation(DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(DataTransformerConfig(id_val="organize", options=tidy))
        .with_transformation(DataTransformerConfig(id_val="filterByValue", options=only))
    )
    for one in columns:
        panel = panel.override_by_name(one.title, _looks(one))
    return panel


def _looks(column: Column) -> list[DynamicConfigValue]:
    looks: dict[str, object] = {"unit": column.unit}
    if column.steps:
        steps = [{"value": value, "color": color} for value, color in column.steps]
        looks["thresholds"] = {"mode": "absolute", "steps": steps}
        looks["custom.cellOptions"] = {"type": "color-text"}
    return [DynamicConfigValue(name, value) for name, value in looks.items()]
