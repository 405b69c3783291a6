"""``queued failed retry|forget|flush``: what becomes of failed jobs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from queued.cli.failed.select import Selection, ids_of, in_batches, selection_options
from queued.cli.failures import Refused, say
from queued.cli.options import (
    Duration,
    JobId,
    backend_options,
    confirmed,
    example,
    find_url,
    yes_option,
)
from queued.cli.output import plural, print_json

if TYPE_CHECKING:
    from queued.drivers.base import Driver

MOST_SAID = 20


@click.command(
    epilog=example(
        "queued failed retry 019ab1c2-3d4e-7f00-8a1b-2c3d4e5f6a7b",
        "queued failed retry --error ConnectionError --since 1h",
        "queued failed retry --all --canary",
    )
)
@click.argument("job_ids", type=JobId(), metavar="[ID]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All failed jobs, or all of --queue.")
@selection_options
@click.option(
    "--canary",
    is_flag=True,
    help="First one of each kind of failure; the others if that one succeeds.",
)
@click.option(
    "--wait",
    type=Duration(),
    metavar="TIME",
    default=300.0,
    help="How long to wait for a canary, 5m by default.",
)
@yes_option
@backend_options
def retry(
    job_ids: Sequence[str],
    selection: Selection,
    wait: float,
    config: Path,
    connection: str | None,
    *,
    everything: bool,
    canary: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Put failed jobs back into their queues, with all their tries."""
    _check_choice(job_ids, selection, everything=everything)
    url = find_url(config, connection)
    if not canary:
        _settle(url, job_ids, selection, "requeue", "put back", as_json=as_json)
        return
    if job_ids:
        raise click.UsageError("--canary chooses one of each kind itself: say --all, or a filter")
    from queued.cli.failed.canary import retry_by_canary  # noqa: PLC0415 - as it is called for

    retry_by_canary(url, selection, wait, yes=yes, as_json=as_json)


@click.command(
    epilog=example(
        "queued failed forget 019ab1c2-3d4e-7f00-8a1b-2c3d4e5f6a7b",
        "queued failed forget --job SendEmail --until 30d",
    )
)
@click.argument("job_ids", type=JobId(), metavar="[ID]...", nargs=-1)
@selection_options
@yes_option
@backend_options
def forget(
    job_ids: Sequence[str],
    selection: Selection,
    config: Path,
    connection: str | None,
    *,
    yes: bool,
    as_json: bool,
) -> None:
    """Remove failed jobs for good: by ID, or by filters."""
    if not job_ids and not selection.filters:
        raise click.UsageError("name the jobs by ID, or by a filter; `failed flush` removes all")
    _check_choice(job_ids, selection, everything=False)
    if not job_ids and not confirmed(f"Remove every failed job{selection}?", yes=yes):
        raise Refused("nothing was removed")
    url = find_url(config, connection)
    _settle(url, job_ids, selection, "forget", "removed", as_json=as_json)


@click.command(epilog=example("queued failed flush --queue emails", "queued failed flush --yes"))
@selection_options
@yes_option
@backend_options
def flush(
    selection: Selection, config: Path, connection: str | None, *, yes: bool, as_json: bool
) -> None:
    """Remove every failed job for good, or every one that the filters name."""
    if not confirmed(f"Remove every failed job{selection}?", yes=yes):
        raise Refused("nothing was removed")
    _settle(find_url(config, connection), (), selection, "forget", "removed", as_json=as_json)


def _check_choice(job_ids: Sequence[str], selection: Selection, *, everything: bool) -> None:
    if job_ids and (everything or selection.filters):
        raise click.UsageError("name the jobs by ID or by filters, not by both")
    if not (job_ids or everything or selection.filters):
        raise click.UsageError("name the jobs by ID or by a filter, or say --all")


def _settle(
    url: str,
    job_ids: Sequence[str],
    selection: Selection,
    verb: str,
    done: str,
    *,
    as_json: bool,
) -> None:
    """Requeue or forget the jobs of ``job_ids``, or those of the selection if there are none."""
    from queued.cli import backend  # noqa: PLC0415 - commands import when they run

    async def settle(driver: Driver) -> tuple[int, list[str], list[str]]:
        missing: list[str] = []
        if job_ids:
            by_queue, missing = await _by_queue(driver, job_ids, selection.queue)
        else:
            by_queue = await ids_of(driver, selection)
        answers = await in_batches(driver, verb, by_queue)
        asked = [(queue, job_id) for queue, ids in by_queue.items() for job_id in ids]
        refused = [one for one, ok in zip(asked, answers, strict=True) if not ok]
        stay = [one for queue, one in refused if await _has_failed(driver, queue, one)]
        if job_ids:
            missing += [job_id for _, job_id in refused if job_id not in stay]
        return sum(answers), missing, stay

    settled, missing, stay = backend.ask(url, settle)
    if as_json:
        known = {"stay_failed": stay} if stay else {}
        print_json({done.replace(" ", "_"): settled, "not_failed": missing} | known)
    else:
        click.echo(f"{plural(settled, 'job')} {done}")
    for job_id in missing:
        say(f"no failed job {job_id!r}")
    for job_id in stay[:MOST_SAID]:
        say(f"{job_id} stays failed: another job holds its unique key")
    if len(stay) > MOST_SAID:
        say(f"{len(stay) - MOST_SAID} more stay failed: others hold their unique keys")
    if missing or stay:
        raise click.exceptions.Exit(1)


async def _has_failed(driver: Driver, queue: str, job_id: str) -> bool:
    info = await driver.find(job_id, queue)
    return info is not None and info.failed is not None


async def _by_queue(
    driver: Driver, job_ids: Sequence[str], queue: str | None
) -> tuple[dict[str, list[str]], list[str]]:
    """Return the ids by queue, and those that no failed job has."""
    by_queue: dict[str, list[str]] = {}
    missing: list[str] = []
    for job_id in dict.fromkeys(job_ids):
        info = await driver.find(job_id, queue)
        if info is None or info.failed is None:
            missing.append(job_id)
        else:
            by_queue.setdefault(info.queue, []).append(job_id)
    return by_queue, missing
