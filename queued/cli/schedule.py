"""``queued schedule``: when the jobs of queue.yaml's schedules run, and one of them now."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from queued.cli.failures import Refused
from queued.cli.options import backend_options, example, load_config
from queued.cli.output import ago, print_json, print_table
from queued.units import format_duration

if TYPE_CHECKING:
    from queued.config.schema import Schedule
    from queued.drivers.base import Driver, Ticks


@click.group(epilog=example("queued schedule list", "queued schedule run weekly-cleanup"))
def schedule() -> None:
    """List the schedules of queue.yaml, or run one of them now."""


class Row(NamedTuple):
    """One schedule and its ticks, in seconds since the epoch."""

    name: str
    schedule: Schedule
    last: int | None
    """Up to where its ticks are seen to; None: no daemon has taken it up yet."""
    next: int | None
    ticked: bool
    """Whether ``last`` is a tick, and not the moment since which a daemon knows the schedule."""
    overdue: int | None
    """The first tick that a daemon should have taken and none has; None: there is none."""

    @property
    def when(self) -> str:
        """How it is written in queue.yaml: ``0 3 * * 0 Europe/Paris``, ``every 10m``."""
        one = self.schedule
        if one.cron is None:
            return f"every {format_duration(one.every or 0)}"
        return one.cron if one.timezone == "UTC" else f"{one.cron} {one.timezone}"

    def text(self, tick: int | None) -> str:
        """Return a tick by the schedule's own clock."""
        from queued.jobs.timetable import zone  # noqa: PLC0415 - only where it is used

        if tick is None:
            return "-"
        moment = datetime.fromtimestamp(tick, zone(self.schedule.timezone))
        return f"{moment:%Y-%m-%d %H:%M:%S %Z}"

    @property
    def last_text(self) -> str:
        return self.text(self.last) if self.ticked else f"none since {self.text(self.last)}"

    @property
    def trouble(self) -> str | None:
        """What is not as it should be, and where to look; None: nothing."""
        if self.last is None:
            return f"{self.name}: no daemon knows it yet: queued start, or queued reload"
        if self.overdue is None:
            return None
        tick = f"the tick of {self.text(self.overdue)} ({ago(self.overdue)})"
        look = "does one run (queued status)? its log says more (schedule.*, backend.unreachable)"
        return f"{self.name}: {tick} was taken by no daemon; {look}"

    def as_json(self) -> dict[str, Any]:
        one = self.schedule
        return {
            "name": self.name, "job": one.job, "queue": one.queue, "cron": one.cron,
            "every": one.every, "timezone": one.timezone, "catch_up": one.catch_up,
            "last_tick": self.last, "next_tick": self.next, "overdue_tick": self.overdue,
        }  # fmt: skip


@schedule.command("list", epilog=example("queued schedule list --json | jq '.[].next_tick'"))
@backend_options
def list_(config: Path, connection: str | None, *, as_json: bool) -> None:
    """List the schedules with their last and next ticks, by the back-end's clock."""
    from queued.cli import backend  # noqa: PLC0415 - commands import when they run

    loaded = load_config(config, connection)
    schedules = loaded.config.schedule

    async def ticks(driver: Driver) -> dict[str, Ticks]:
        queues = dict.fromkeys(one.queue for one in schedules.values())
        return {queue: await driver.ticks(queue) for queue in queues}

    known = backend.ask(loaded.config.connection, ticks) if schedules else {}
    rows = [_row(name, one, known[one.queue]) for name, one in schedules.items()]
    if as_json:
        print_json([row.as_json() for row in rows])
    elif rows:
        shown = [
            (row.name, row.when, row.schedule.job, row.schedule.queue,
             "-" if row.last is None else row.last_text, row.text(row.next))
            for row in rows
        ]  # fmt: skip
        print_table(("schedule", "when", "job", "queue", "last", "next"), shown)
        for row in rows:
            if row.trouble:
                click.echo(row.trouble)
    else:
        click.echo(f"{config} has no schedule")


def _row(name: str, one: Schedule, known: Ticks) -> Row:
    from queued.jobs.timetable import LATE, Timetable  # noqa: PLC0415 - only where it is used

    table = Timetable(cron=one.cron, every=one.every, timezone=one.timezone)
    last, now = known.last.get(name), int(known.now)
    following = table.next(max(now, last or 0))
    if last is None:
        return Row(name, one, None, following, ticked=False, overdue=None)
    due = table.next(last)
    overdue = due if due is not None and due < now - LATE else None
    return Row(name, one, last, following, ticked=table.next(last - 1) == last, overdue=overdue)


@schedule.command(epilog=example("queued schedule run weekly-cleanup"))
@click.argument("name")
@backend_options
def run(name: str, config: Path, connection: str | None, *, as_json: bool) -> None:
    """Enqueue the job of the schedule NAME now, beside its ticks."""
    import asyncio  # noqa: PLC0415 - commands import when they run

    from queued.jobs import imports, payload  # noqa: PLC0415
    from queued.jobs.queue import Queue  # noqa: PLC0415
    from queued.jobs.receipt import Receipt  # noqa: PLC0415

    loaded = load_config(config, connection)
    one = _known(loaded.config.schedule, name, config)
    imports.load(loaded.config.imports, loaded.folder)
    payload.adopt(loaded.policy)
    job = payload.build(one.job, json.dumps(one.args).encode())

    async def push() -> Receipt:
        async with Queue(loaded.config.connection) as producer:
            return await producer.push(job, one.queue)

    receipt = asyncio.run(push())
    if as_json:
        print_json({"id": receipt.id, "enqueued": receipt.enqueued, "queue": one.queue})
    elif receipt.enqueued:
        click.echo(f"{receipt.id} enqueued in {one.queue}")
    else:
        click.echo(f"{receipt.id} in {one.queue} holds its unique key; nothing was enqueued")


def _known(schedules: Mapping[str, Schedule], name: str, config: Path) -> Schedule:
    if name in schedules:
        return schedules[name]
    near = get_close_matches(name, schedules, n=1)
    known = ", ".join(schedules) or "none"
    hint = f'did you mean "{near[0]}"?' if near else f"there are {known}"
    raise Refused(f"{config} has no schedule {name!r}; {hint}")
