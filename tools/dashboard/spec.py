"""What a panel says, apart from how it looks: queries, thresholds, links, and what to do.

Expressions say ``{I``, ``{Q`` or ``{P`` for the matchers of the chosen instances, of the chosen
queues on them, or of those queues' pools: ``queued_queue_jobs{Q,state="ready"}``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models.common import DataSourceRef
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

DATASOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")

_INSTANCE = 'instance=~"$instance"'
_MATCHERS = {
    "I": _INSTANCE,
    "Q": f'{_INSTANCE},queue=~"$queue"',
    "P": f'{_INSTANCE},pool=~"$queue"',  # a pool has the name of its queue
}

GREEN, YELLOW, RED = "green", "yellow", "red"
Steps = Sequence[tuple[float | None, str]]
"""Colours of a value: each from so much on; None: from the start."""
CALM: Steps = ((None, GREEN),)


def above(warn: float, bad: float | None = None) -> Steps:
    """Return the colours of what should be low: yellow from one value on, red from another."""
    steps: Steps = [(None, GREEN), (warn, YELLOW)]
    return steps if bad is None else [*steps, (bad, RED)]


def bad_from(value: float) -> Steps:
    """Return the colours of what must not reach a value."""
    return [(None, GREEN), (value, RED)]


def bad_below(value: float) -> Steps:
    """Return the colours of what must be so high."""
    return [(None, RED), (value, GREEN)]


_HERE = "/d/${__dashboard.uid}?${datasource:queryparam}&${instance:queryparam}&${__url_time_range}"


def to_panel(panel: int) -> Mapping[str, str]:
    """Return a link to another panel of this dashboard, alone, with the same choices."""
    return {"What is behind it": f"{_HERE}&${{queue:queryparam}}&viewPanel={panel}"}


def to_queue(label: str = "queue", panel: int | None = None) -> Mapping[str, str]:
    """Return links to this dashboard for the queue that a label names, and to another panel."""
    only = {f"Only this {label}": f"{_HERE}&var-queue=${{__field.labels.{label}}}"}
    return only if panel is None else {**only, **to_panel(panel)}


@dataclass(frozen=True, kw_only=True)
class Query:
    """One query. ``instant``: its value now; ``table``: all of its labels, now."""

    expr: str
    legend: str = ""
    instant: bool = False
    table: bool = False

    def build(self) -> Dataquery:
        expr = expanded(self.expr)
        made = Dataquery().expr(expr).legend_format(self.legend).datasource(DATASOURCE)
        made = made.instant() if self.instant or self.table else made.range()
        return made.format(PromQueryFormat.TABLE) if self.table else made


def expanded(expr: str) -> str:
    """Return an expression with its matchers written out."""
    return re.sub(r"\{([IQP])(?=[,}])", lambda found: "{" + _MATCHERS[found[1]], expr)


def quantile(q: float, histogram: str, by: str = "") -> str:
    """Return the expression of a quantile of a histogram, such as ``queued_job_wait_seconds{Q}``.

    :param by: the label that tells the series apart; none: one series.
    """
    name, matchers = histogram.split("{")
    labels = f"le, {by}" if by else "le"
    rate = f"rate({name}_bucket{{{matchers}[$__rate_interval])"
    return f"histogram_quantile({q}, sum by ({labels}) ({rate}))"


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What every panel has. ``width`` is of 24 columns, ``height`` of rows of 30 pixels."""

    id: int
    title: str
    about: str
    """What it shows, and what to do when it looks wrong."""
    queries: Mapping[str, str] = field(default_factory=dict)
    """Expression of each legend."""
    unit: str = "short"
    steps: Steps = CALM
    links: Mapping[str, str] = field(default_factory=dict)
    """Address of each title, offered at every series and value."""
    nothing: str = ""
    """The text where there is no data."""
    width: int = 8
    height: int = 8
    top: float | None = None
    """The highest value of the axis."""
