"""The daemon and its page of metrics."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Panel

from tools.dashboard.panels import Column, figure, graph, sheet
from tools.dashboard.spec import Spec, above, bad_below, to_panel


def panels() -> list[Panel]:
    """Return the panels of the row."""
    return [
        sheet(
            Spec(
                id=701,
                title="Daemons",
                about="What runs where. Different versions for long: a host was forgotten in the "
                "last roll-out. Daemons of one back-end share its queues.",
            ),
            {
                "instance": "Instance",
                "backend": "Back-end",
                "version": "queued",
                "python": "Python",
            },
            [
                Column(
                    title="Up",
                    expr='max by (instance) (up{I,job="queued"})',
                    steps=bad_below(1),
                ),
                Column(
                    title="Series",
                    expr='max by (instance) (scrape_samples_scraped{I,job="queued"}) '
                    "* on (instance) group_left (version, python) queued_build_info{I} "
                    "* on (instance) group_left (backend) queued_backend_info{I}",
                ),
                Column(
                    title="Runs for",
                    expr="time() - max by (instance) (queued_start_time_seconds{I})",
                    unit="s",
                ),
            ],
        ),
        figure(
            Spec(
                id=702,
                title="Last reload",
                about="Whether the last reload of queue.yaml succeeded. If not, the old settings "
                "go on: `queued check` shows every problem with its line.",
                queries={"reload": "min(queued_config_last_reload_successful{I})"},
                steps=bad_below(1),
                width=4,
            ),
            {"0": ("refused", "red"), "1": ("in force", "green")},
        ),
        figure(
            Spec(
                id=703,
                title="Labels folded into other",
                about="Values of labels beyond their limit (200 classes, 10 errors a queue), "
                "counted as other. Classes made at run time are the usual cause.",
                queries={"folded": "sum(queued_dropped_labelsets_total{I})"},
                steps=above(1),
                links=to_panel(704),
                nothing="none",
                width=4,
            )
        ),
        graph(
            Spec(
                id=704,
                title="Size of the page",
                about="Series of each daemon's /metrics. It depends on queues and classes, never "
                "on the number of jobs or workers.",
                queries={"{{instance}}": 'scrape_samples_scraped{I,job="queued"}'},
                links=to_panel(705),
            )
        ),
        graph(
            Spec(
                id=705,
                title="Time of a scrape",
                about="To render the page, and for Prometheus to fetch it. Seconds here mean that "
                "the monitor gets no processor: look at the host.",
                queries={
                    "{{instance}} rendered": "queued_scrape_duration_seconds{I}",
                    "{{instance}} fetched": 'scrape_duration_seconds{I,job="queued"}',
                },
                unit="s",
                steps=above(1),
                links=to_panel(704),
            )
        ),
        graph(
            Spec(
                id=706,
                title="Ends of monitors, by reason",
                about="Another one takes the place at once; until then there are no metrics and "
                "nobody takes back the jobs of dead workers. Drained is a reload; for anything "
                "else see monitor.crashed in the log.",
                queries={
                    "{{reason}}": "sum by (reason) "
                    "(increase(queued_monitor_exits_total{I}[$__rate_interval]))"
                },
                nothing="none ended",
                links=to_panel(701),
            ),
            stacked=True,
            bars=True,
        ),
    ]
