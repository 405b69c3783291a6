"""``queued grafana``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from queued.cli.options import config_option, example, load_config


def _address(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value and not set(value).isdisjoint('"\\\n{}#'):
        raise click.BadParameter("expected the address of a page, without #", ctx, param)
    return value


@click.command(
    epilog=example(
        "queued grafana > /var/lib/grafana/dashboards/queued.json",
        "queued grafana --alerts --runbook https://wiki.example.org/queued > queued-alerts.yml",
    )
)
@config_option
@click.option("--alerts", is_flag=True, help="Print Prometheus' alert rules instead.")
@click.option(
    "--runbook",
    metavar="URL",
    callback=_address,
    help="Where the alerts' runbook is read; by default docs/runbook.md.",
)
def grafana(config: Path, *, alerts: bool, runbook: str | None) -> None:
    """Print the Grafana dashboard, with each queue's max_wait as its threshold.

    It asks Prometheus, which scrapes the daemons as job "queued"; the back-end is not asked.
    """
    from queued import grafana as made  # noqa: PLC0415 - see options.load_config

    if alerts:
        click.echo(made.alerts(runbook or made.RUNBOOK), nl=False)
        return
    if runbook:
        raise click.UsageError("--runbook goes with --alerts")
    queues = load_config(config).config.queues
    max_waits = {name: one.max_wait for name, one in queues.items() if one.max_wait is not None}
    click.echo(json.dumps(made.dashboard(max_waits), indent=1, ensure_ascii=False))
