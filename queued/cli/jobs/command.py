"""``queued job``, ``queued cancel``, ``queued purge``: looking at jobs that wait or run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from queued.cli.failures import Refused
from queued.cli.options import (
    JobId,
    QueueName,
    backend_options,
    confirmed,
    example,
    find_url,
    queue_option,
    yes_option,
)
from queued.cli.output import plural, print_json

if TYPE_CHECKING:
    from queued.drivers.base import JobInfo


@click.command(epilog=example("queued job 019ab1c2-3d4e-7f00-8a1b-2c3d4e5f6a7b"))
@click.argument("job_id", type=JobId(), metavar="ID")
@queue_option
@backend_options
def job(
    job_id: str, queue: str | None, config: Path, connection: str | None, *, as_json: bool
) -> None:
    """Show all that is known of the job ID: state, times, who runs it, runs, payload, failure.

    Fields of the payload whose names look secret are hidden.
    """
    from queued.cli import backend  # noqa: PLC0415 - commands import when they run
    from queued.cli.jobs import describe  # noqa: PLC0415 - commands import when they run

    url = find_url(config, connection)
    info = backend.ask(url, lambda driver: backend.find(driver, job_id, queue))
    held = _held(info, config, connection)
    if as_json:
        print_json(describe.as_json(info) | {"held": held})
    else:
        describe.print_job(info, held["text"] if held else None)


def _held(info: JobInfo, config: Path, connection: str | None) -> dict[str, Any] | None:
    """Return who has a job that is reserved, as ``queued why`` tells; None: nobody has it now."""
    from queued.cli.why import evidence, reasons  # noqa: PLC0415 - commands import when they run
    from queued.drivers.states import State  # noqa: PLC0415

    if info.state is not State.RESERVED:
        return None
    seen = evidence.gather(info.id, info.queue, config, connection)
    if seen.info is None or seen.info.state is not State.RESERVED:
        return None  # it ended just now
    reason = reasons.of_job(seen)[0]
    return {"reason": reason.code, "text": reason.text, **reason.facts}


@click.command(epilog=example("queued cancel 019ab1c2-3d4e-7f00-8a1b-2c3d4e5f6a7b"))
@click.argument("job_id", type=JobId(), metavar="ID")
@queue_option
@backend_options
def cancel(
    job_id: str, queue: str | None, config: Path, connection: str | None, *, as_json: bool
) -> None:
    """Remove the job ID, if it still waits. A job that runs is not stopped."""
    from queued.cli import backend  # noqa: PLC0415 - commands import when they run
    from queued.drivers.base import Driver, State  # noqa: PLC0415

    async def cancelled(driver: Driver) -> tuple[str, State | None]:
        info = await backend.find(driver, job_id, queue)
        return info.queue, await driver.cancel(info.queue, job_id)

    where, state = backend.ask(find_url(config, connection), cancelled)
    match state:
        case State.READY | State.SCHEDULED:
            pass
        case State.RESERVED:
            raise Refused(f"{job_id} is running; it can no longer be cancelled")
        case State.FAILED:
            raise Refused(f"{job_id} has failed; remove it with: queued failed forget {job_id}")
        case _:
            raise Refused(f"{job_id} ended just now")
    if as_json:
        print_json({"id": job_id, "queue": where, "was": state.value})
    else:
        click.echo(f"{job_id} was {state.value} in {where}, and is removed")


@click.command(epilog=example("queued purge emails"))
@click.argument("queue", type=QueueName(), metavar="QUEUE")
@yes_option
@backend_options
def purge(queue: str, config: Path, connection: str | None, *, yes: bool, as_json: bool) -> None:
    """Remove every job that waits in QUEUE. Running and failed jobs stay."""
    from queued.cli import backend  # noqa: PLC0415 - commands import when they run
    from queued.drivers.base import Driver  # noqa: PLC0415

    async def waiting(driver: Driver) -> int:
        (name,) = await backend.known_queues(driver, queue)
        return (await driver.stats([name]))[name].size

    url = find_url(config, connection)
    count = backend.ask(url, waiting)
    if not confirmed(f"Remove {plural(count, 'job')} that wait in {queue}?", yes=yes):
        raise Refused("nothing was removed")
    removed = backend.ask(url, lambda driver: driver.purge(queue))
    if as_json:
        print_json({"queue": queue, "removed": removed})
    else:
        click.echo(f"{plural(removed, 'job')} removed from {queue}")
