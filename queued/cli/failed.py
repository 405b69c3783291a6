"""``queued failed``: what failed for good, and what to do with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from queued.cli.failures import Refused, say
from queued.cli.options import (
    JobId,
    backend_options,
    confirmed,
    example,
    find_url,
    queue_option,
    yes_option,
)
from queued.cli.output import ago, plural, print_json, print_table

if TYPE_CHECKING:
    from queued.drivers.base import Driver, FailedJob

BATCH = 1_000


@click.group(epilog=example("queued failed list", "queued failed retry --all --queue emails"))
def failed() -> None:
    """List, show, retry and forget the jobs that failed on their last try."""


@failed.command("list", epilog=example("queued failed list --queue emails --limit 20"))
@queue_option
@click.option(
    "--limit",
    type=click.IntRange(1, BATCH),
    metavar="N",
    default=50,
    show_default=True,
    help=f"How many, up to {BATCH:,}.",
)
@backend_options
def list_(
    queue: str | None, limit: int, config: Path, connection: str | None, *, as_json: bool
) -> None:
    """List failed jobs, the newest first."""
    from queued.cli import backend, describe  # noqa: PLC0415 - commands import when they run
    from queued.jobs.payload import job_name  # noqa: PLC0415

    async def newest(driver: Driver) -> tuple[list[FailedJob], int]:
        queues = await backend.known_queues(driver, queue)
        found = [one for name in queues for one in await driver.failed(name, limit)]
        found.sort(key=lambda one: one.failed_at, reverse=True)
        stats = await driver.stats(queues)
        return found[:limit], sum(one.failed for one in stats.values())

    found, total = backend.ask(find_url(config, connection), newest)
    if as_json:
        print_json([describe.failure_json(one) for one in found])
        return
    if not found:
        click.echo("no failed jobs")
        return
    rows = [
        (one.id, one.queue, _class(job_name(one.payload)), ago(one.failed_at),
         describe.error_of(one))
        for one in found
    ]  # fmt: skip
    print_table(("id", "queue", "job", "failed", "error"), rows, below=True)
    if total > len(found):
        click.echo(f"{total - len(found)} more; --limit shows up to {BATCH}")


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
    from queued.cli import backend, describe  # noqa: PLC0415 - commands import when they run

    url = find_url(config, connection)
    info = backend.ask(url, lambda driver: backend.find(driver, job_id, queue))
    if info.failed is None:
        raise Refused(f"{job_id} has not failed, it is {info.state}; see: queued job {job_id}")
    if as_json:
        print_json(describe.failure_json(info.failed))
    else:
        describe.print_job(info)


@failed.command(epilog=example("queued failed retry 019ab1c2-3d4e-7f00-8a1b-2c3d4e5f6a7b"))
@click.argument("job_ids", type=JobId(), metavar="[ID]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All failed jobs, or all of --queue.")
@queue_option
@backend_options
def retry(
    job_ids: Sequence[str],
    queue: str | None,
    config: Path,
    connection: str | None,
    *,
    everything: bool,
    as_json: bool,
) -> None:
    """Put failed jobs back into their queues, with all their tries."""
    if everything == bool(job_ids):
        raise click.UsageError("name the jobs by ID, or say --all")
    url = find_url(config, connection)
    _settle(url, job_ids, queue, "requeue", "put back", as_json=as_json)


@failed.command(epilog=example("queued failed forget 019ab1c2-3d4e-7f00-8a1b-2c3d4e5f6a7b"))
@click.argument("job_ids", type=JobId(), metavar="ID...", nargs=-1, required=True)
@queue_option
@backend_options
def forget(
    job_ids: Sequence[str],
    queue: str | None,
    config: Path,
    connection: str | None,
    *,
    as_json: bool,
) -> None:
    """Remove failed jobs for good."""
    _settle(find_url(config, connection), job_ids, queue, "forget", "removed", as_json=as_json)


@failed.command(epilog=example("queued failed flush --queue emails"))
@queue_option
@yes_option
@backend_options
def flush(
    queue: str | None, config: Path, connection: str | None, *, yes: bool, as_json: bool
) -> None:
    """Remove every failed job for good, or every one of --queue."""
    where = f" of {queue}" if queue else ""
    if not confirmed(f"Remove every failed job{where}?", yes=yes):
        raise Refused("nothing was removed")
    _settle(find_url(config, connection), (), queue, "forget", "removed", as_json=as_json)


def _settle(
    url: str, job_ids: Sequence[str], queue: str | None, verb: str, done: str, *, as_json: bool
) -> None:
    """Requeue or forget the jobs of ``job_ids``, or all failed ones if there are none."""
    from queued.cli import backend  # noqa: PLC0415 - commands import when they run

    async def settle(driver: Driver) -> tuple[int, list[str]]:
        by_queue, missing = await _grouped(driver, job_ids, queue)
        settled = 0
        act: Callable[[str, Sequence[str]], Awaitable[list[bool]]] = getattr(driver, verb)
        for name, ids in by_queue.items():
            for start in range(0, len(ids), BATCH):
                batch = ids[start : start + BATCH]
                answers = await act(name, batch)
                settled += sum(answers)
                if job_ids:
                    missing += [one for one, ok in zip(batch, answers, strict=True) if not ok]
        return settled, missing

    settled, missing = backend.ask(url, settle)
    if as_json:
        print_json({done.replace(" ", "_"): settled, "not_failed": missing})
    else:
        click.echo(f"{plural(settled, 'job')} {done}")
    for job_id in missing:
        say(f"no failed job {job_id!r}")
    if missing:
        raise click.exceptions.Exit(1)


async def _grouped(
    driver: Driver, job_ids: Sequence[str], queue: str | None
) -> tuple[dict[str, list[str]], list[str]]:
    """Return the ids by queue, and those that no failed job has.

    All are collected before the first is put back: it might fail again meanwhile, for ever.
    """
    from queued.cli import backend  # noqa: PLC0415 - commands import when they run

    by_queue: dict[str, list[str]] = {}
    missing: list[str] = []
    for job_id in dict.fromkeys(job_ids):
        info = await driver.find(job_id, queue)
        if info is None or info.failed is None:
            missing.append(job_id)
        else:
            by_queue.setdefault(info.queue, []).append(job_id)
    if not job_ids:
        for name in await backend.known_queues(driver, queue):
            by_queue[name] = await _all_ids(driver, name)
    return by_queue, missing


async def _all_ids(driver: Driver, queue: str) -> list[str]:
    ids: dict[str, None] = {}
    offset = 0
    while page := await driver.failed(queue, BATCH, offset):
        ids.update(dict.fromkeys(one.id for one in page))
        offset += len(page)
    return list(ids)
