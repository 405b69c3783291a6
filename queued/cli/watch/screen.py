"""``queued status`` on one screen: is all well, the daemon, its pools, its queues, what runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from queued.cli.output import coloured, console, print_fields, print_table, styled
from queued.cli.watch import columns
from queued.cli.watch.reading import Reading, Run
from queued.units import format_duration, format_size
from queued.web.overview import WELL, PoolView

if TYPE_CHECKING:
    from rich.text import Text

LISTED = 8
"""Jobs that are listed; with more, the rest would not stay on one screen."""
STYLES = {"healthy": "bold green", "ready, with warnings": "bold yellow", "not ready": "bold red"}
"""The health by its headline."""


def print_status(
    status: Mapping[str, Any], *, workers: bool = False, sort: columns.Column = columns.NAME
) -> None:
    """Print a daemon's answer to ``status``.

    :param workers: list the workers, too.
    :param sort: the column that the queues are sorted by.
    """
    reading = Reading(status)
    _print_health(reading)
    click.echo()
    print_fields(_daemon(status))
    click.echo()
    print_table(
        ("pool", "state", "workers", "busy", "memory", "restarts"),
        map(_pool, reading.overview.pools),
        right=("workers", "busy", "memory"),
    )
    click.echo()
    _print_queues(columns.arranged(columns.rows_of(reading), sort), sort)
    if workers:
        _print_workers(status["pools"])
    _print_runs(reading.runs)
    notes = list(reading.notes())
    if notes:
        click.echo()
    for note in notes:
        click.echo(str(styled(note)))


def _print_health(reading: Reading) -> None:
    """Say in a sentence or a few whether all is well, and where not."""
    out = console()
    headline = coloured(reading.headline, STYLES[reading.headline])
    if reading.healthy:
        out.print(headline, coloured(f": {WELL}"), sep="", soft_wrap=True)
        return
    out.print(headline, coloured(":"), sep="", soft_wrap=True)
    for problem in reading.problems:
        out.print("  ", styled(problem), sep="", soft_wrap=True)


def _daemon(status: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    state = status["state"] + (", quiet: no jobs are started" if status.get("quiet") else "")
    uptime = format_duration(status["uptime"])
    yield "daemon", f"{state} for {uptime}, pid {status['pid']}, version {status['version']}"
    yield "config", status["config"]
    reached = {True: "reachable", False: "not reachable", None: "not asked yet"}
    up = reached[status.get("driver_up")]
    yield "back-end", f"{status['connection']} ({status['connection_source']}), {up}"
    yield "http", f"http://{status['http']}/metrics" if status.get("http") else "off"
    if status.get("change"):
        yield "change", f"{status['change']['change']}: {status['change']['phase']}"


def _pool(pool: PoolView) -> tuple[Any, ...]:
    return (
        coloured(pool.name, "bold"),
        pool.state,
        coloured(pool.size, columns.BAD if pool.short else ""),
        f"{pool.busy}/{pool.slots}",
        format_size(pool.memory),
        columns.exits_text(pool.exits),
    )


def _print_queues(rows: Sequence[columns.Row], sort: columns.Column) -> None:
    shown = columns.fitting(columns.OF_QUEUES, rows, console().width, keep=sort)
    titles = [column.title for column in shown]
    cells = ([coloured(one.text(row), one.style(row)) for one in shown] for row in rows)
    print_table(titles, cells, right=titles[1:])


def _print_runs(runs: Sequence[Run]) -> None:
    click.echo()
    if not runs:
        click.echo("nothing runs now")
        return
    rows = ((run.name, run.worker, run.pid, _for(run), run.id) for run in runs[:LISTED])
    print_table(("running now", "worker", "pid", "for", "id"), rows, right=("pid",))
    if len(runs) > LISTED:
        click.echo(f"and {len(runs) - LISTED} more; --json has them all")


def _for(run: Run) -> Text:
    return coloured(time_of(run), columns.POOR if nearly_over(run) else "")


def time_of(run: Run) -> str:
    """Return for how long a job has run, and how long it may."""
    of = f" of {format_duration(run.timeout)}" if run.timeout else ""
    return f"{format_duration(run.seconds)}{of}"


def nearly_over(run: Run) -> bool:
    """Whether a job will soon be past its deadline."""
    return run.timeout is not None and run.seconds > 0.8 * run.timeout


def _print_workers(pools: Mapping[str, Any]) -> None:
    click.echo()
    print_table(
        ("worker", "pid", "state", "up", "memory", "settled", "running"),
        (_worker(one) for pool in pools.values() for one in pool["workers"] if one["pid"]),
        right=("pid", "up", "memory", "settled", "running"),
    )


def _worker(worker: Mapping[str, Any]) -> tuple[Any, ...]:
    return (
        worker["name"],
        worker["pid"],
        worker["state"],
        format_duration(int(worker["uptime"])),
        format_size(worker["rss"]),
        worker.get("settled", 0),
        len(worker.get("jobs", ())),
    )
