"""``queued migrate``: jobs that wait in another system's queue come over."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from queued.cli.failures import Refused, say
from queued.cli.options import config_option, example, json_option, load_config
from queued.cli.output import plural, print_json, print_table
from queued.errors import ConfigError

if TYPE_CHECKING:
    from queued.cli.migrate.move import Report, Source
    from queued.drivers.base import Driver

MOST_SAID = 30


@click.group(epilog=example("queued migrate routemq --from redis://localhost:6379/0 --dry-run"))
def migrate() -> None:
    """Move the jobs of another queue system into this one."""


@migrate.command(
    epilog=example(
        "queued migrate routemq --from redis://localhost:6379/0 --dry-run",
        "queued migrate routemq --from mysql://root:pw@localhost/mqtt_framework",
        "queued migrate routemq --from redis://localhost --map app.old.Mail=app.jobs.SendEmail",
    )
)
@click.option("--from", "source_url", metavar="URL", required=True, help="RouteMQ's back-end.")
@click.option("--to", metavar="URL", help="Where to; by default what queue.yaml says.")
@click.option(
    "--map",
    "maps",
    metavar="OLD=NEW",
    multiple=True,
    help="RouteMQ's name of a class, and its name here; may be repeated.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be moved, and change nothing.")
@click.option("--live", is_flag=True, help="Also while workers run, of either system.")
@config_option
@json_option
def routemq(
    source_url: str,
    to: str | None,
    maps: Sequence[str],
    config: Path,
    *,
    dry_run: bool,
    live: bool,
    as_json: bool,
) -> None:
    """Move waiting, delayed, reserved and failed jobs of RouteMQ over, without loss.

    Each is copied first, and removed from RouteMQ when the copy is acknowledged: a command that was
    cut off can be repeated. Stop the workers of both systems before: a job that runs meanwhile may
    run twice. Jobs whose class is not among `imports` are listed and left where they are.
    """
    from queued.cli.migrate.entry import Converter  # noqa: PLC0415 - commands import when they run
    from queued.jobs import imports, payload  # noqa: PLC0415

    loaded = load_config(config, to)
    payload.adopt(loaded.policy)
    for warning in imports.load(loaded.config.imports, loaded.folder):
        say(warning)
    converter = Converter(_names(maps))
    source = _source(source_url)
    try:
        if not (dry_run or live):
            _check_routemq(source)
        url = loaded.config.connection
        report = asyncio.run(_move(source, url, converter, dry_run=dry_run, live=live))
    finally:
        source.close()
    if as_json:
        print_json(_as_json(report, dry_run=dry_run))
    else:
        _print(report, dry_run=dry_run)
    if report.left:
        raise click.exceptions.Exit(1)


def _names(maps: Sequence[str]) -> dict[str, str]:
    from queued.jobs import registry  # noqa: PLC0415 - commands import when they run
    from queued.jobs.text import nearest  # noqa: PLC0415

    names: dict[str, str] = {}
    known = registry.registered()
    for one in maps:
        old, equals, new = one.partition("=")
        if not (equals and old and new):
            raise click.UsageError(f"--map {one}: expected OLD=NEW, two names of classes")
        if new not in known:
            raise Refused(f'--map {one}: no job of imports is called "{new}"{nearest(new, known)}')
        names[old] = new
    return names


def _source(url: str) -> Source:
    from queued.environment import normalise  # noqa: PLC0415 - commands import when they run

    scheme = url.partition("://")[0].lower()
    if scheme in {"redis", "rediss", "unix"}:
        from queued.cli.migrate.redis import RedisSource  # noqa: PLC0415 - whichever it is

        return RedisSource(url)
    if scheme.partition("+")[0] not in {"mysql", "mariadb", "sqlite", "postgresql"}:
        raise ConfigError(
            ["--from: expected redis://... or a database such as mysql://user:password@host/name"]
        )
    from queued.cli.migrate.sql import SqlSource  # noqa: PLC0415

    if scheme.startswith("sqlite"):
        url = normalise(url, Path.cwd())
        path = Path(url.removeprefix("sqlite:///"))
        if not path.exists():
            raise Refused(f"--from: {path}: no such database")
    return SqlSource(url)


def _check_routemq(source: Source) -> None:
    workers = source.workers()
    if workers:
        raise Refused(
            f"{plural(len(workers), 'worker')} of RouteMQ run ({', '.join(workers[:3])}): stop"
            " them, or say --live, and a job that they take meanwhile may run twice"
        )


async def _check_queued(driver: Driver) -> None:
    for queue in await driver.queues():
        if any(left > 0 for left in (await driver.owners(queue)).values()):
            raise Refused(
                f"workers of queued serve {queue}: stop the daemon, or say --live, and a job may"
                " run twice if this command is cut off"
            )


async def _move(source: Source, url: str, converter: Any, *, dry_run: bool, live: bool) -> Report:
    from queued.cli.backend import opened  # noqa: PLC0415 - commands import when they run
    from queued.cli.migrate.move import Move  # noqa: PLC0415
    from queued.drivers import driver_for  # noqa: PLC0415

    if dry_run:
        return await Move(source, driver_for(url), converter, dry_run=True).run()
    async with opened(url) as driver:
        if not live:
            await _check_queued(driver)
        return await Move(source, driver, converter, dry_run=False).run()


def _as_json(report: Report, *, dry_run: bool) -> dict[str, Any]:
    names = ("where", "queue", "class")
    return {
        "dry_run": dry_run,
        "moved": [
            dict(zip(names, key, strict=True)) | {"count": count}
            for key, count in sorted(report.moved.items())
        ],
        "left": [
            dict(zip((*names, "reason"), key, strict=True)) | {"count": count}
            for key, count in sorted(report.left.items())
        ],
    }


def _print(report: Report, *, dry_run: bool) -> None:
    rows: Counter[tuple[str, str, str]] = report.moved
    if rows:
        table = [(queue, where, name, count) for (where, queue, name), count in rows.items()]
        print_table(("queue", "were", "class", "jobs"), sorted(table), right=("jobs",))
    total = rows.total()
    click.echo(f"{plural(total, 'job')} {'would be moved' if dry_run else 'moved'}")
    for number, (key, count) in enumerate(sorted(report.left.items())):
        where, queue, name, reason = key
        if number == MOST_SAID:
            say(f"and {len(report.left) - MOST_SAID} more reasons; --json has them all")
            break
        say(f"{plural(count, 'job')} left ({where} in {queue}): {name}: {reason}")
