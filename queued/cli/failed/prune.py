"""``queued failed prune``: failed jobs of long ago are removed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from queued.cli.failures import Refused
from queued.cli.options import (
    Duration,
    backend_options,
    confirmed,
    example,
    find_url,
    load_config,
    queue_option,
    yes_option,
)
from queued.cli.output import plural, print_json
from queued.units import format_duration

if TYPE_CHECKING:
    from queued.drivers.base import Driver


@click.command(
    epilog=example("queued failed prune --older-than 7d", "queued failed prune --queue emails")
)
@click.option(
    "--older-than",
    type=Duration(),
    metavar="TIME",
    help="How long ago they failed, as 7d; without it, retain_failed of each queue.",
)
@queue_option
@yes_option
@backend_options
def prune(
    older_than: float | None,
    queue: str | None,
    config: Path,
    connection: str | None,
    *,
    yes: bool,
    as_json: bool,
) -> None:
    """Remove the jobs for good that failed long ago, as the daemon does by retain_failed.

    Those whose failed() is still to run stay.
    """
    from queued.cli import backend  # noqa: PLC0415 - commands import when they run

    if older_than is None:
        url, ages = _retained(config, connection, queue)
    else:
        url = find_url(config, connection)
        names = backend.ask(url, lambda driver: backend.known_queues(driver, queue))
        ages = dict.fromkeys(names, older_than)
    if not confirmed(f"Remove {_said(ages)}?", yes=yes):
        raise Refused("nothing was removed")
    removed = backend.ask(url, lambda driver: _prune(driver, ages))
    if as_json:
        print_json({"removed": sum(removed.values()), "queues": removed})
    else:
        click.echo(f"{plural(sum(removed.values()), 'job')} removed")


def _retained(
    config: Path, connection: str | None, queue: str | None
) -> tuple[str, dict[str, float]]:
    """Return the back-end, and for how long each queue keeps its failed jobs."""
    loaded = load_config(config, connection)
    ages = {
        name: one.retain_failed
        for name, one in loaded.config.queues.items()
        if one.retain_failed is not None and queue in (None, name)
    }
    if not ages:
        whose = f"queues.{queue} of {config}" if queue else str(config)
        raise click.UsageError(f"{whose} has no retain_failed: say --older-than, as 30d")
    return loaded.config.connection, ages


def _said(ages: dict[str, float]) -> str:
    if len(set(ages.values())) == 1:
        where = next(iter(ages)) if len(ages) == 1 else f"{len(ages)} queues"
        return f"what failed in {where} over {format_duration(next(iter(ages.values())))} ago"
    return ", ".join(f"{name}: over {format_duration(age)}" for name, age in ages.items())


async def _prune(driver: Driver, ages: dict[str, float]) -> dict[str, int]:
    from queued.drivers.base import MAX_BATCH  # noqa: PLC0415 - as in prune

    removed = dict.fromkeys(ages, 0)
    for queue, age in ages.items():
        count = MAX_BATCH
        while count == MAX_BATCH:
            count = await driver.prune(queue, age)
            removed[queue] += count
    return removed
