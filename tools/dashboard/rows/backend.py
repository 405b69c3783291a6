"""The back-end, as the workers and monitors see it."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Panel

from tools.dashboard.panels import graph, timeline
from tools.dashboard.spec import Spec, above, quantile, to_panel


def panels() -> list[Panel]:
    """Return the panels of the row."""
    return [
        timeline(
            Spec(
                id=601,
                title="Reachable",
                about="Whether the back-end answers each daemon. One daemon alone: its network; "
                "all of them: the server. Workers wait and go on by themselves.",
                queries={
                    "{{instance}} {{driver}}": "min by (instance, driver) (queued_driver_up{I})"
                },
                links=to_panel(604),
            ),
            {"0": ("unreachable", "red"), "1": ("answers", "green")},
        ),
        graph(
            Spec(
                id=602,
                title="Calls",
                about="Calls of the back-end, a second, by what they do. Exchange is the hot "
                "path: it settles and reserves in one round trip.",
                queries={
                    "{{driver}} {{operation}}": "sum by (driver, operation) "
                    "(rate(queued_driver_operation_seconds_count{I}[$__rate_interval]))"
                },
                unit="suffix: /s",
                links=to_panel(603),
            )
        ),
        graph(
            Spec(
                id=603,
                title="Time of a call, 99th percentile",
                about="Slow for all operations: the server or the network. Slow for writes: its "
                "disk. Listening waits for work and is no call in this sense.",
                queries={
                    "{{driver}} {{operation}}": quantile(
                        0.99, "queued_driver_operation_seconds{I}", "driver, operation"
                    )
                },
                unit="s",
                steps=above(0.1, 1),
                links=to_panel(601),
            )
        ),
        graph(
            Spec(
                id=604,
                title="Errors, by kind",
                about="unavailable: no answer, tried again. Others: the server refused, such as a "
                "full memory or a missing right; the log's backend.* lines have its words.",
                queries={
                    "{{driver}} {{kind}}": "sum by (driver, kind) "
                    "(increase(queued_driver_errors_total{I}[$__rate_interval]))"
                },
                links=to_panel(601),
            ),
            stacked=True,
            bars=True,
        ),
        graph(
            Spec(
                id=605,
                title="Age of the figures",
                about="How old the sampled backlog is. Above a minute an alert goes off: the "
                "numbers of queues on this page are then history.",
                queries={"{{instance}}": "time() - (queued_stats_timestamp_seconds{I} > 0)"},
                unit="s",
                steps=above(15, 60),
                links=to_panel(601),
            )
        ),
    ]
