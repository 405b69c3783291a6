"""``queued dispatch``: a job by name, its fields as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterable
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import click

from queued.cli.failures import say
from queued.cli.options import (
    Duration,
    Moment,
    backend_options,
    example,
    load_config,
)
from queued.errors import UnknownJob
from queued.jobs.text import nearest

if TYPE_CHECKING:
    from queued.jobs.job import Job
    from queued.jobs.receipt import Receipt

_LISTED = 5


@click.command(
    epilog=example(
        """queued dispatch app.jobs.SendEmail '{"to": "a@b.c"}' --delay 5m""",
        "echo '{}' | queued dispatch app.jobs.Nightly -",
    )
)
@click.argument("name")
@click.argument("fields", metavar="[JSON]", default="{}")
@click.option("--queue", metavar="QUEUE", help="Which queue; by default what the class says.")
@click.option("--delay", type=Duration(), default=0.0, help="It is not run before: 30s, 5m.")
@click.option(
    "--at",
    type=Moment(),
    metavar="TIME",
    help="The same as a time: 2026-07-01T09:00+02:00, or without a zone by this host's.",
)
@click.option(
    "--id", "job_id", metavar="ID", help="An id of your own; a second one is not enqueued."
)
@click.option(
    "--unique-key",
    metavar="KEY",
    help="Refused while a job of its class and KEY waits or runs; by default what the class says.",
)
@click.option("--unique-for", type=Duration(), help="Refused for so long instead.")
@backend_options
def dispatch(
    *,
    name: str,
    fields: str,
    queue: str | None,
    delay: float,
    at: datetime | None,
    job_id: str | None,
    unique_key: str | None,
    unique_for: float | None,
    config: Path,
    connection: str | None,
    as_json: bool,
) -> None:
    """Enqueue a job of the class NAME with the fields JSON ("-" reads them from standard input).

    The modules of queue.yaml's imports are loaded, so that the fields are checked before anything
    is enqueued.
    """
    text = sys.stdin.read() if fields == "-" else fields
    body = _checked_json(text)
    from queued.jobs import imports, payload  # noqa: PLC0415 - after the cheap checks

    loaded = load_config(config, connection)
    for warning in imports.load(loaded.config.imports, loaded.folder):
        say(f"warning: {warning}")
    payload.adopt(loaded.policy)
    job = payload.build(_known_name(name, config), body)
    options = _Options(queue, delay, job_id, at, unique_key, unique_for)
    receipt, chosen = asyncio.run(_push(loaded.config.connection, job, options))
    if chosen not in loaded.config.queues:
        near = nearest(chosen, loaded.config.queues)
        say(f"warning: no pool of {config} serves the queue {chosen}, so the job waits there{near}")
    if as_json:
        said = {"id": receipt.id, "enqueued": receipt.enqueued, "queue": chosen}
        click.echo(json.dumps(said))
    elif receipt.enqueued:
        click.echo(f"{receipt.id} enqueued in {chosen}")
    elif receipt.id == job_id:
        click.echo(f"{receipt.id} is in {chosen} already; nothing was enqueued")
    else:
        click.echo(f"{receipt.id} in {chosen} holds the unique key; nothing was enqueued")


class _Options(NamedTuple):
    queue: str | None
    delay: float
    id: str | None
    at: datetime | None
    unique_key: str | None
    unique_for: float | None


async def _push(url: str, job: Job, options: _Options) -> tuple[Receipt, str]:
    from queued.jobs.queue import Queue  # noqa: PLC0415 - see dispatch

    async with Queue(url) as producer:
        receipt = await producer.push(job, **options._asdict())
    return receipt, options.queue or job.queue or "default"


def _checked_json(text: str) -> bytes:
    """Return the fields as given if they are a JSON object.

    :raises click.UsageError: they are not; the message says where.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise click.UsageError(_json_problem(text, error)) from None
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"JSON: {error}") from None
    if not isinstance(value, dict):
        kind = {list: "a list", str: "a text", type(None): "null"}.get(type(value), "a value")
        raise click.UsageError(f"""JSON: expected an object such as '{{"to": 1}}', got {kind}""")
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise click.UsageError("JSON: not UTF-8") from None


def _json_problem(text: str, error: json.JSONDecodeError) -> str:
    message = f"JSON: {error.msg[:1].lower()}{error.msg[1:]} at column {error.colno}"
    if error.lineno > 1:
        message += f" of line {error.lineno}"
    rest = text[error.pos : error.pos + 20]
    message += f", before {rest!r}" if rest.strip() else ", at its end"
    if "'" in rest[:2]:
        message += "; JSON has double quotes"
    return message


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _known_name(name: str, config: Path) -> str:
    """Return ``name`` if a class has it.

    :raises UnknownJob: none has; the message has those that look like it.
    """
    from queued.jobs import registry  # noqa: PLC0415 - see dispatch

    known = registry.registered()
    if name in known:
        return name
    near = _near(name, known)
    if near:
        hint = f"; did you mean {' or '.join(near)}?"
    elif known:
        more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
        hint = f"; known are {', '.join(sorted(known)[:_LISTED])}{more}"
    else:
        hint = f"; imports of {config} names no module with jobs"
    raise UnknownJob(f"no job is called {name!r}{hint}")


def _near(name: str, known: Iterable[str]) -> list[str]:
    """Return the names whose last part looks like that of ``name``, whatever their modules."""
    by_class: dict[str, list[str]] = {}
    for full in known:
        by_class.setdefault(full.rpartition(".")[2], []).append(full)
    near = get_close_matches(name.rpartition(".")[2], by_class, n=2)
    return [full for match in near for full in by_class[match]][:3]
