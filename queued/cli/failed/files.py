"""``queued failed export|import``: failed jobs as lines of JSON, with nothing left out."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from queued.cli.failed.select import Selection, selected, selection_options
from queued.cli.failures import Refused, say
from queued.cli.options import backend_options, example, find_url
from queued.cli.output import plural, print_json

if TYPE_CHECKING:
    from queued.drivers.base import Driver, FailedJob

BATCH = 500
BATCH_BYTES = 8 * 1024 * 1024
MOST_SAID = 20
"""Wrong lines that are told of one by one."""


@click.command(epilog=example("queued failed export failed.jsonl --queue emails --since 1d"))
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@selection_options
@backend_options
def export(
    file: Path, selection: Selection, config: Path, connection: str | None, *, as_json: bool
) -> None:
    """Write failed jobs to FILE, one as JSON on each line; - is the standard output.

    The jobs stay where they are. Payloads are written as they are stored, secrets included: the
    file is for its owner only.
    """
    from queued.cli import backend  # noqa: PLC0415 - commands import when they run
    from queued.cli.failed.line import line_of  # noqa: PLC0415

    async def write(driver: Driver) -> int:
        count = 0
        with _created(file) as out:
            async for one in selected(driver, selection):
                out.write(line_of(one) + "\n")
                count += 1
        return count

    count = backend.ask(find_url(config, connection), write)
    to_terminal = str(file) == "-"
    if as_json and not to_terminal:
        print_json({"exported": count})
    else:
        click.echo(f"{plural(count, 'job')} exported", err=to_terminal)


@click.command("import", epilog=example("queued failed import failed.jsonl"))
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@backend_options
def import_(file: Path, config: Path, connection: str | None, *, as_json: bool) -> None:
    """Store the failed jobs of FILE, as `failed export` writes it; - is the standard input.

    A job whose id exists in its queue is left as it is, so the command can be repeated. A line that
    is wrong is named by its number, and the others are stored.
    """
    from queued.cli import backend  # noqa: PLC0415 - commands import when they run

    wrong: list[str] = []

    async def read(driver: Driver) -> tuple[int, int]:
        if not hasattr(driver, "restore"):
            raise Refused(f"the driver {driver.name} cannot store failed jobs from elsewhere")
        stored = known = 0
        with _opened(file) as lines:
            for queue, batch in _batches(lines, wrong):
                answers = await driver.restore(queue, batch)
                stored += sum(answers)
                known += len(answers) - sum(answers)
        return stored, known

    stored, known = backend.ask(find_url(config, connection), read)
    if as_json:
        print_json({"imported": stored, "already_there": known, "wrong": len(wrong)})
    else:
        there = f", {known} were there already" if known else ""
        click.echo(f"{plural(stored, 'job')} imported{there}")
    for problem in wrong[:MOST_SAID]:
        say(f"{file}: {problem}")
    if len(wrong) > MOST_SAID:
        say(f"{file}: {len(wrong) - MOST_SAID} more lines are wrong")
    if wrong:
        raise click.exceptions.Exit(1)


def _batches(lines: IO[bytes], wrong: list[str]) -> Iterator[tuple[str, list[FailedJob]]]:
    """Yield jobs of one queue, as many as one step may carry; note the lines that are none."""
    from queued.cli.failed.line import failure_of  # noqa: PLC0415 - commands import when they run

    waiting: dict[str, list[FailedJob]] = {}
    size = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            one = failure_of(line)
        except ValueError as error:
            wrong.append(f"line {number}: {error}")
            continue
        waiting.setdefault(one.queue, []).append(one)
        size += len(line)
        if len(waiting[one.queue]) >= BATCH or size >= BATCH_BYTES:
            yield from waiting.items()
            waiting, size = {}, 0
    yield from waiting.items()


@contextmanager
def _created(file: Path) -> Iterator[IO[str]]:
    """Open a file that is new and whole: it has its name when all is in it."""
    if str(file) == "-":
        yield sys.stdout
        return
    part = file.with_name(file.name + ".part")
    if file.exists():
        raise Refused(f"{file} exists: remove it, or name another file")
    try:
        part.unlink(missing_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="ascii") as out:  # noqa: PTH123 - a path has no mode
            yield out
        part.rename(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise Refused(f"{file} cannot be written: {error.strerror or error}") from None


@contextmanager
def _opened(file: Path) -> Iterator[IO[bytes]]:
    if str(file) == "-":
        yield sys.stdin.buffer
        return
    try:
        lines = file.open("rb")
    except OSError as error:
        raise Refused(f"{file} cannot be read: {error.strerror or error}") from None
    with lines:
        yield lines
