"""The Grafana dashboard: ``python -m tools.dashboard`` writes it to grafana/queued.json.

spec.py has the words of a panel, panels.py the kinds, rows/ a module for each row. Ids are fixed
(the row's hundred and a number): links from panel to panel name them.

The format is the classic one, which is imported and provisioned everywhere; the SDK's dashboardv2
is for the newest Grafana alone.
"""

from __future__ import annotations

import json

from grafana_foundation_sdk.builders.dashboard import (
    AnnotationQuery,
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    Row,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from tools.dashboard.rows import backend, crashes, daemon, failures, health, pools, queues
from tools.dashboard.rows.terms import UNPLANNED
from tools.dashboard.spec import DATASOURCE, expanded

ROWS = {
    "Is it healthy?": health.panels,
    "Queues: rate, errors, duration": queues.panels,
    "Pools: utilisation, saturation": pools.panels,
    "Failures": failures.panels,
    "Crashes and restarts": crashes.panels,
    "Back-end": backend.panels,
    "The daemon itself": daemon.panels,
}

ABOUT = "Is it healthy, and if not, what and where? Each panel's description says what to do."


def _labels(name: str, metric: str, about: str) -> QueryVariable:
    """Return a variable with the values that a label has in Prometheus; all of them by default."""
    query = f"label_values({expanded(metric)}, {name})"
    return (
        QueryVariable(name)
        .description(about)
        .datasource(DATASOURCE)
        .query({"query": query, "refId": name})
        .definition(query)
        .current(VariableOption(selected=True, text=["All"], value=["$__all"]))
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .include_all(True)
        .all_value(".*")
        .multi(True)
    )


def _annotation(name: str, expr: str, title: str, color: str) -> AnnotationQuery:
    return (
        AnnotationQuery()
        .name(name)
        .datasource(DATASOURCE)
        .enable(True)
        .icon_color(color)
        .expr(expanded(expr))
        .step("15s")
        .title_format(title)
    )


def build() -> Dashboard:
    """Return the dashboard."""
    made = (
        Dashboard("queued")
        .uid("queued")
        .description(ABOUT)
        .tags(["queued", "jobs"])
        .time("now-1h", "now")
        .refresh("30s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(DashboardLink("Alert rules").url("/alerting/list?search=Queued"))
        .with_variable(DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(_labels("instance", "queued_build_info", "The daemons."))
        .with_variable(_labels("queue", "queued_queue_jobs{I}", "The queues, and their pools."))
        .annotation(
            _annotation(
                "Alerts",
                'ALERTS{alertname=~"Queued.+",alertstate="firing"}',
                "{{alertname}} {{queue}}{{pool}}",
                "red",
            )
        )
        .annotation(
            _annotation(
                "Crashes",
                "sum by (pool, reason) "
                f"(increase(queued_worker_exits_total{{P,{UNPLANNED}}}[1m])) > 0",
                "{{pool}}: {{reason}}",
                "orange",
            )
        )
    )
    for place, (title, panels) in enumerate(ROWS.items(), 1):
        made = made.with_row(Row(title).id(place))
        for panel in panels():
            made = made.with_panel(panel)
    return made


def text() -> str:
    """Return the dashboard as grafana/queued.json has it: a line for each panel, for diffs."""
    made = json.loads(JSONEncoder().encode(build().build()))
    panels = ",\n".join(json.dumps(panel, ensure_ascii=False) for panel in made.pop("panels"))
    rest = json.dumps(made, ensure_ascii=False, indent=1).removesuffix("\n}")
    return f'{rest},\n "panels": [\n{panels}\n ]\n}}\n'
