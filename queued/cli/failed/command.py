"""``queued failed``: what failed for good, and what to do with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from queued.cli.failed.files import export, import_
from queued.cli.failed.prune import prune
from queued.cli.failed.select import Selection, selection_options
from queued.cli.failed.settle import flush, forget, retry
from queued.cli.failures import Refused
from queued.cli.options import JobId, backend_options, example, find_url, queue_option
from queued.cli.output import ago, plural, print_json, print_table

if TYPE_CHECKING:
    from queued.cli.failed.groups import Group
    from queued.drivers.base import Driver, FailedJob

LONGEST_LIST = 1_000


@click.group(epilog=example("queued failed list", "queued failed retry --all --queue emails"))
def failed() -> None:
    """List, show, retry and forget the jobs that failed on their last try."""


for _command in (retry, forget, flush, prune, export, import_):
    failed.add_command(_command)


@failed.command(
    "list",
    epilog=example(
        "queued failed list --queue emails --limit 20",
        "queued failed list --group --since 1h",
        "queued failed list --job SendEmail --error ConnectionError",
    ),
)
@selection_options
@click.option("--group", is_flag=True, help="Show each kind of failure once, with its count.")
@click.option(
    "--limit",
    type=click.IntRange(1, LONGEST_LIST),
    metavar="N",
    default=50,
    show_default=True,
    help=f"How many, up to {LONGEST_LIST:,}.",
)
@backend_options
def list_(
    selection: Selection,
    limit: int,
    config: Path,
    connection: str | None,
    *,
    group: bool,
    as_json: bool,
) -> None:
    """List failed jobs, the newest first; or their kinds, the most frequent first."""
    url = find_url(config, connection)
    if group:
        _list_groups(url, selection, limit, as_json=as_json)
    else:
        _list_jobs(url, selection, limit, as_json=as_json)


def _list_jobs(url: str, selection: Selection, limit: int, *, as_json: bool) -> None:
    from queued.cli import backend  # noqa: PLC0415 - commands import when they run
    from queued.cli.failed.select import selected  # noqa: PLC0415
    from queued.cli.jobs import describe  # noqa: PLC0415 - commands import when they run
    from queued.jobs.payload import job_name  # noqa: PLC0415

    async def newest(driver: Driver) -> tuple[list[FailedJob], str]:
        found: list[FailedJob] = []
        async for one in selected(driver, selection):
            found.append(one)
            if len(found) > limit:
                break
        more = ""
        if len(found) > limit:
            more = "there are more"
            if not selection.filters:
                stats = await driver.stats(await backend.known_queues(driver, selection.queue))
                more = f"{sum(one.failed for one in stats.values()) - limit} more"
        return found[:limit], more

    found, more = backend.ask(url, newest)
    hint = f"{more}; --limit shows up to {LONGEST_LIST}, --group shows them by kind"
    if as_json:
        print_json([describe.failure_json(one) for one in found])
        if more:
            click.echo(f"{hint}; export has no limit", err=True)
        return
    if not found:
        click.echo("no failed jobs")
        return
    rows = [
        (one.id, one.queue, _class(job_name(one.payload)), ago(one.failed_at),
         describe.error_of(one))
        for one in found
    ]  # fmt: skip
    print_table(("id", "queue", "job", "failed", "error"), rows, below=1)
    if more:
        click.echo(hint)


def _list_groups(url: str, selection: Selection, limit: int, *, as_json: bool) -> None:
    from queued.cli import backend  # noqa: PLC0415 - commands import when they run
    from queued.cli.failed.groups import grouped  # noqa: PLC0415

    groups = backend.ask(url, lambda driver: grouped(driver, selection))
    groups.sort(key=lambda one: (-one.count, -one.last))
    if as_json:
        print_json([one.as_json() for one in groups[:limit]])
        return
    if not groups:
        click.echo("no failed jobs")
        return
    rows = [_group_row(one) for one in groups[:limit]]
    columns = ("count", "fingerprint", "job", "first", "last", "example", "error")
    print_table(columns, rows, right=("count",), below=2)
    total = sum(one.count for one in groups)
    click.echo(f"{plural(total, 'failed job')} of {plural(len(groups), 'kind')}")


def _group_row(group: Group) -> tuple[object, ...]:
    jobs = ", ".join(sorted(_class(name) for name in group.jobs))
    return (
        group.count,
        group.print.id,
        jobs,
        ago(group.first),
        ago(group.last),
        group.example,
        group.text,
    )


def _class(name: str | None) -> str:
    """Return the class alone: the whole name is for `failed show`, which has the room."""
    return (name or "?").rpartition(".")[2]


@failed.command(epilog=example("queued failed show 019ab1c2-3d4e-7f00-8a1b-2c3d4e5f6a7b"))
@click.argument("job_id", type=JobId(), metavar="ID")
@queue_option
@backend_options
def show(
    job_id: str, queue: str | None, config: Path, connection: str | None, *, as_json: bool
) -> None:
    """Show why the job ID failed: error, traceback, every run."""
    from queued.cli import backend  # noqa: PLC0415 - commands import when they run
    from queued.cli.jobs import describe  # noqa: PLC0415 - commands import when they run

    url = find_url(config, connection)
    info = backend.ask(url, lambda driver: backend.find(driver, job_id, queue))
    if info.failed is None:
        raise Refused(f"{job_id} has not failed, it is {info.state}; see: queued job {job_id}")
    if as_json:
        print_json(describe.failure_json(info.failed))
    else:
        describe.print_job(info)
