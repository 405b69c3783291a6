"""``queued status``: the daemon at this moment."""

from __future__ import annotations

from pathlib import Path

import click

from queued.cli.daemon import request
from queued.cli.options import config_option, example, json_option
from queued.cli.output import print_json


@click.command(epilog=example("queued status", "queued status --json | jq -e .health.healthy"))
@click.option("-w", "--workers", is_flag=True, help="List the workers, too.")
@config_option
@json_option
def status(config: Path, *, workers: bool, as_json: bool) -> None:
    """Show whether all is well, the pools, the queues and what runs.

    \b
    busy      jobs that run, of those that may run at a time
    restarts  how often workers were replaced, and why: "signal" is a kill or a crash
    oldest    how long the job at the head of the queue has waited
    rate/s    jobs that were done or failed for good, per second, in the last minute
    wait p95  95 of 100 jobs waited no longer before they ran, in the last 5 minutes
    run p95   95 of 100 runs took no longer, in the last 5 minutes
    fail%     runs that failed, of those of the last 5 minutes
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    answer = request(config, "status")
    if as_json:
        from queued.cli.watch.reading import Reading  # noqa: PLC0415 - commands import when they run

        print_json(Reading(answer).as_json())
        return
    from queued.cli.watch.screen import print_status  # noqa: PLC0415 - commands import when they run

    print_status(answer, workers=workers)
