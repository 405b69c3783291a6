"""What fails: by class, by error, and what is kept of it."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Panel

from tools.dashboard.panels import Column, graph, ranking, sheet
from tools.dashboard.rows.terms import BAD, CHARGED, failing
from tools.dashboard.spec import Spec, above, quantile, to_panel, to_queue


def panels() -> list[Panel]:
    """Return the panels of the row."""

    def of_class(outcome: str) -> str:
        counted = f"increase(queued_attempts_total{{Q,{outcome}}}[$__range])"
        return f"sum by (queue, job_class) ({counted})"

    return [
        sheet(
            Spec(
                id=401,
                title="Classes of jobs",
                about="Each class over the chosen time. Begin with the largest share: `queued "
                "failed list --queue QUEUE` has the errors, `queued failed show ID` the traceback "
                "and every run.",
                links=to_queue(),
                width=16,
            ),
            {"queue": "Queue", "job_class": "Class"},
            [
                Column(title="Runs", expr=of_class(CHARGED)),
                Column(
                    title="Failing",
                    expr=f"{of_class(BAD)} / ({of_class(CHARGED)} > 0)",
                    unit="percentunit",
                    steps=above(0.01, 0.05),
                ),
                Column(title="Retried", expr=of_class('outcome="retried"')),
                Column(title="Failed", expr=of_class('outcome="failed"'), steps=above(1)),
                Column(title="Timed out", expr=of_class('outcome="timed_out"'), steps=above(1)),
                Column(title="Lost", expr=of_class('outcome="lost"'), steps=above(1)),
            ],
        ),
        ranking(
            Spec(
                id=402,
                title="Errors of the last hour",
                about="The ten most frequent exceptions. One that fills the list is one cause: "
                "fix it, then `queued failed retry --all`.",
                queries={
                    "{{error}}": "topk(10, "
                    "sum by (error) (increase(queued_job_errors_total{Q}[1h])))"
                },
                steps=[(None, "orange")],
                links=to_panel(404),
            )
        ),
        graph(
            Spec(
                id=403,
                title="Failing classes",
                about="The ten classes with the largest share of runs that fail. All at once: "
                "something that they share, such as a database; one alone: its code or its API.",
                queries={"{{job_class}}": f"topk(10, {failing('by (job_class) ')} > 0)"},
                unit="percentunit",
                steps=above(0.05),
                nothing="nothing fails",
                links=to_panel(401),
            )
        ),
        graph(
            Spec(
                id=404,
                title="Failed jobs kept",
                about="They stay until they are retried or forgotten: `queued failed "
                "retry --all` after a fix, `queued failed forget ID` for what is settled.",
                queries={"{{queue}}": 'max by (queue) (queued_queue_jobs{Q,state="failed"})'},
                links=to_queue(panel=401),
            )
        ),
        graph(
            Spec(
                id=405,
                title="Slowest classes, 95th percentile",
                about="Compare with the class's timeout: `queued check` lists it. What comes near "
                "will be killed; make the job smaller or the timeout longer.",
                queries={
                    "{{job_class}}": "topk(10, "
                    + quantile(0.95, "queued_job_run_seconds{Q}", "job_class")
                    + ")"
                },
                unit="s",
                links=to_panel(401),
            )
        ),
    ]
