"""Eight figures that are green on a good day, then the three views that matter most."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Panel

from queued.grafana import OLDEST_READY
from tools.dashboard.panels import figure, graph, ranking
from tools.dashboard.rows.terms import AGE, BAD, ENQUEUED, OBJECTIVE, READY, failing
from tools.dashboard.spec import Spec, above, bad_from, to_panel, to_queue


def panels() -> list[Panel]:
    """Return the panels of the row."""
    return [
        figure(
            Spec(
                id=101,
                title="Daemons down",
                about="Daemons that Prometheus cannot scrape. Jobs may still run: ask `queued "
                "status` on the host, then look at its log and at the HTTP address of queue.yaml.",
                queries={"down": 'count(up{I,job="queued"} == 0) or 0 * count(up{I,job="queued"})'},
                steps=bad_from(1),
                links=to_panel(701),
                nothing="no target",
                width=3,
                height=4,
            )
        ),
        figure(
            Spec(
                id=102,
                title="Back-end",
                about="Whether the back-end answers every daemon. While it does not, workers keep "
                "what they run and wait; nothing is lost. Look at its server first.",
                queries={"up": "min(queued_driver_up{I})"},
                steps=[(None, "red"), (1, "green")],
                links=to_panel(601),
                nothing="unknown",
                width=3,
                height=4,
            ),
            {"0": ("unreachable", "red"), "1": ("answers", "green")},
        ),
        figure(
            Spec(
                id=103,
                title="Workers missing",
                about="Workers that should run and do not. A few for some seconds is a restart; "
                "if it stays, `queued status` says why they end.",
                queries={
                    "missing": "sum(clamp_min(sum by (instance, pool) (queued_workers_desired{P}) "
                    '- sum by (instance, pool) (queued_workers{P,state=~"idle|busy"}), 0))'
                },
                steps=above(1, 3),
                links=to_panel(303),
                width=3,
                height=4,
            )
        ),
        figure(
            Spec(
                id=104,
                title="Pools in trouble",
                about="Pools whose workers keep dying: they wait longer and longer before they "
                "start again (backoff), or were given up (fatal). `queued status` shows how the "
                "last one died; after a fix, `queued restart` takes the new code in.",
                queries={"pools": 'sum(queued_pool_state{P,state=~"backoff|fatal"})'},
                steps=bad_from(1),
                links=to_panel(503),
                width=3,
                height=4,
            )
        ),
        figure(
            Spec(
                id=105,
                title="Longest wait",
                about="The oldest ready job of the worst queue, as a share of that queue's "
                "max_wait. Over 100 % the objective is missed: see which queue, then ask "
                "`queued why QUEUE`.",
                queries={"wait": f"max({AGE} / on (queue) ({OBJECTIVE} > 0))"},
                unit="percentunit",
                steps=above(0.5, 1),
                links=to_panel(209),
                nothing="no max_wait",
                width=3,
                height=4,
            )
        ),
        figure(
            Spec(
                id=106,
                title="Attempts that fail",
                about="Runs of the last five minutes that raised, timed out or lost their worker. "
                "The table by class and the ranking of errors say which and why.",
                queries={"failing": failing("", "5m")},
                unit="percentunit",
                steps=above(0.01, 0.05),
                links=to_panel(401),
                nothing="idle",
                width=3,
                height=4,
            )
        ),
        figure(
            Spec(
                id=107,
                title="Failed jobs kept",
                about="Jobs that used up their tries and wait for somebody to decide. `queued "
                "failed list` shows them, `queued failed retry` puts them back.",
                queries={"failed": 'sum(max by (queue) (queued_queue_jobs{Q,state="failed"}))'},
                steps=above(1),
                links=to_panel(404),
                width=3,
                height=4,
            )
        ),
        figure(
            Spec(
                id=108,
                title="Alerts firing",
                about="Rules that fire now; each has its section in the runbook. 0 also where "
                "Prometheus has not loaded grafana/alerts.yml.",
                queries={
                    "alerts": 'count(ALERTS{alertname=~"Queued.+",alertstate="firing"}) '
                    "or vector(0)"
                },
                steps=bad_from(1),
                links={"The rules": "/alerting/list?search=Queued"},
                width=3,
                height=4,
            )
        ),
        ranking(
            Spec(
                id=OLDEST_READY,
                title="Oldest ready job",
                about="How long the next job of each queue has waited, the longest first. `queued "
                "grafana` colours each bar by its queue's own max_wait.",
                queries={"{{queue}}": f"sort_desc({AGE})"},
                unit="s",
                links=to_queue(panel=209),
            )
        ),
        graph(
            Spec(
                id=110,
                title="Work in, work out",
                about="What is put in and what leaves, in jobs a second. The gap between the two "
                "is the backlog that grows or shrinks.",
                queries={
                    "put in": f"sum({ENQUEUED})",
                    "succeeded": "sum(rate("
                    'queued_attempts_total{Q,outcome="succeeded"}[$__rate_interval]))',
                    "went wrong": f"sum(rate(queued_attempts_total{{Q,{BAD}}}[$__rate_interval]))",
                },
                unit="suffix: /s",
                links=to_panel(201),
            ),
            colors={"put in": "blue", "succeeded": "green", "went wrong": "red"},
        ),
        graph(
            Spec(
                id=111,
                title="Backlog",
                about="Jobs that could run now and wait for a slot. If it only grows, give the "
                "pool more processes or concurrency, or find out what its jobs wait for.",
                queries={"{{queue}}": READY},
                links=to_queue(panel=211),
            ),
            stacked=True,
        ),
    ]
