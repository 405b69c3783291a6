"""``queued top``: the daemon as it works, until somebody has seen enough."""

from __future__ import annotations

import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from queued.cli.daemon import request
from queued.cli.failures import NotRunning
from queued.cli.options import Duration, config_option, example, json_option
from queued.cli.watch import columns
from queued.errors import ControlError

if TYPE_CHECKING:
    from queued.cli.watch.reading import Reading

SHORTEST, LONGEST = 0.1, 86_400.0
"""Seconds between two looks."""
PATIENCE = 2.0
"""Seconds in which a daemon must answer; it does so at once unless the machine is out of breath."""
SORTS = {column.name: column for column in columns.ALL}


@click.command(
    epilog=example(
        "queued top --sort oldest",
        "queued top --json --interval 10 | jq -c .health.problems",
    )
)
@click.option(
    "--interval",
    type=Duration(),
    metavar="TIME",
    default="2s",
    show_default=True,
    help="How often the daemon is asked.",
)
@click.option(
    "--sort",
    type=click.Choice(list(SORTS)),
    metavar="COLUMN",
    default=columns.NAME.name,
    help=f"Sort the queues by {', '.join(SORTS)}; by queue, those with trouble come first.",
)
@click.option("--once", is_flag=True, help="Print once and end.")
@config_option
@json_option
def top(interval: float, sort: str, config: Path, *, once: bool, as_json: bool) -> None:
    """Watch the queues, the pools and what runs.

    The first lines say whether all is well, and where not. p or space pauses, s and S (or the arrow
    keys) change the column that is sorted by, r reverses, up and down scroll, q quits. A daemon
    that ends is waited for.

    With --json a line is printed at each look: what `queued status --json` says, in one line. Where
    there is no terminal, it prints once.

    \b
    rate/s    jobs that were done or failed for good, per second, in the last minute
    wait p95  95 of 100 jobs waited no longer before they ran, in the last 5 minutes
    run p95   95 of 100 runs took no longer, in the last 5 minutes
    fail%     runs that failed, of those of the last 5 minutes
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    interval = min(max(SHORTEST, interval), LONGEST)
    answer = request(config, "status")  # a wrong -c is told at once
    if as_json:
        _print_lines(config, answer, interval, once=once)
    elif once or not sys.stdout.isatty() or os.environ.get("TERM") in {"dumb", "unknown"}:
        from queued.cli.watch.screen import print_status  # noqa: PLC0415 - commands import when they run

        print_status(answer, sort=SORTS[sort])
    else:
        _watch(config, answer, interval, SORTS[sort])


def _print_lines(config: Path, answer: dict[str, Any], interval: float, *, once: bool) -> None:
    from queued.cli.output import json_line  # noqa: PLC0415 - commands import when they run
    from queued.cli.watch.reading import Reading  # noqa: PLC0415

    line: dict[str, Any] = {"at": time.time(), "running": True, **Reading(answer).as_json()}
    while True:
        click.echo(json_line(line))
        if once:
            return
        sys.stdout.flush()
        time.sleep(interval)
        answered, away = _ask(config)
        line = {"at": time.time(), "running": answered is not None}
        line |= {"error": away} if answered is None else answered.as_json()


def _ask(config: Path) -> tuple[Reading | None, str]:
    """Return the daemon's answer, or None and why there is none."""
    from queued.cli.watch.reading import Reading  # noqa: PLC0415 - commands import when they run

    try:
        return Reading(request(config, "status", timeout=PATIENCE)), ""
    except NotRunning:
        return None, "the daemon is not running"
    except (ControlError, json.JSONDecodeError) as error:
        return None, str(error)


def _watch(config: Path, answer: dict[str, Any], interval: float, sort: columns.Column) -> None:
    """Draw at each look and after each key, until somebody quits."""
    from queued.cli.output import console  # noqa: PLC0415
    from queued.cli.watch.board import View, board  # noqa: PLC0415 - commands import when they run
    from queued.cli.watch.reading import Reading  # noqa: PLC0415
    from queued.cli.watch.terminal import taken  # noqa: PLC0415

    reading, away, view = Reading(answer), "", View(interval, sort)
    due = time.monotonic() + interval
    with taken(console()) as terminal:
        while True:
            terminal.draw(partial(board, reading, view, away))
            wait = interval if view.paused else due - time.monotonic()
            for event in terminal.wait(wait):
                if event in {"q", "quit"}:
                    return
                view = view.after(event, len(reading.overview.queues))
            if not view.paused and time.monotonic() >= due:
                answered, away = _ask(config)
                reading = answered or reading
                due = time.monotonic() + interval
