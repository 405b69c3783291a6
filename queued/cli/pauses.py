"""``queued pause``, ``queued resume``: whether jobs of a queue are started, on all hosts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from queued.cli.failures import Refused
from queued.cli.options import QueueName, backend_options, example, find_url
from queued.cli.output import moment, plural, print_json

if TYPE_CHECKING:
    from queued.drivers.base import Driver, QueueStats

queues_argument = click.argument(
    "queues", nargs=-1, required=True, type=QueueName(), metavar="QUEUE..."
)


@click.command(
    epilog=example('queued pause emails --reason "the mail server is down"', "queued pause a b")
)
@queues_argument
@click.option("--reason", metavar="TEXT", default="", help="Why; whoever looks is told.")
@backend_options
def pause(
    queues: Sequence[str], reason: str, config: Path, connection: str | None, *, as_json: bool
) -> None:
    """Have no more jobs of each QUEUE started, on any host, until `queued resume`.

    Jobs that run may finish, and jobs may be dispatched: they wait. To pause a queue once more
    gives another reason.
    """
    from queued.cli import backend  # noqa: PLC0415 - commands import when they run
    from queued.environment import who  # noqa: PLC0415
    from queued.jobs.text import one_line  # noqa: PLC0415

    async def paused(driver: Driver) -> dict[str, tuple[bool, QueueStats]]:
        await _check_names(driver, queues, config, connection)
        new = {name: await driver.pause(name, one_line(who()), one_line(reason)) for name in queues}
        stats = await driver.stats(queues)
        return {name: (is_new, stats[name]) for name, is_new in new.items()}

    found = backend.ask(find_url(config, connection), paused)
    if as_json:
        print_json([_as_json(name, new, stats) for name, (new, stats) in found.items()])
        return
    for name, (new, stats) in found.items():
        since = "" if new or stats.paused is None else f" since {moment(stats.paused.since)}"
        click.echo(f"{name} is paused{since}: {_work(stats)}")


@click.command(epilog=example("queued resume emails"))
@queues_argument
@backend_options
def resume(queues: Sequence[str], config: Path, connection: str | None, *, as_json: bool) -> None:
    """End the pause of each QUEUE: idle workers start at once."""
    from queued.cli import backend  # noqa: PLC0415 - commands import when they run

    async def resumed(driver: Driver) -> dict[str, tuple[bool, QueueStats]]:
        await _check_names(driver, queues, config, connection)
        ended = {name: await driver.resume(name) for name in queues}
        stats = await driver.stats(queues)
        return {name: (was_paused, stats[name]) for name, was_paused in ended.items()}

    found = backend.ask(find_url(config, connection), resumed)
    if as_json:
        print_json([_as_json(name, was, stats) for name, (was, stats) in found.items()])
        return
    for name, (was_paused, stats) in found.items():
        how = "goes on" if was_paused else "was not paused"
        click.echo(f"{name} {how}: {_work(stats)}")


def _work(stats: QueueStats) -> str:
    waits = "waits" if stats.size == 1 else "wait"
    runs = "runs" if stats.reserved == 1 else "run"
    return f"{plural(stats.size, 'job')} {waits}, {stats.reserved} {runs}"


def _as_json(queue: str, changed: bool, stats: QueueStats) -> dict[str, object]:
    from dataclasses import asdict  # noqa: PLC0415 - commands import when they run

    paused = asdict(stats.paused) if stats.paused else None
    return {"queue": queue, "changed": changed, "paused": paused}


async def _check_names(
    driver: Driver, queues: Sequence[str], config: Path, connection: str | None
) -> None:
    """Refuse a name that nobody knows: it is mistyped, and nothing would be paused.

    :raises Refused: neither the back-end nor queue.yaml has that queue.
    """
    from queued.cli.why.evidence import would_serve  # noqa: PLC0415 - commands import when they run
    from queued.jobs.text import nearest  # noqa: PLC0415

    known = {*await driver.queues(), *would_serve(config, connection)}
    for name in queues:
        if name not in known:
            hint = nearest(name, known) or f"; known are {', '.join(sorted(known)) or 'none'}"
            raise Refused(f"there is no queue {name!r}: nothing was changed{hint}")
