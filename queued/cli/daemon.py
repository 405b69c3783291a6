"""The daemon, and the commands that change it: start, reload, restart, scale, stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from queued.cli.failures import NotRunning
from queued.cli.options import (
    Processes,
    config_option,
    connection_option,
    example,
    json_option,
    load_config,
)
from queued.cli.output import print_json
from queued.errors import ControlError

_NOBODY = (FileNotFoundError, ConnectionRefusedError, NotADirectoryError)


@click.command(epilog=example("queued start -c queue.yaml"))
@config_option
@connection_option
def start(config: Path, connection: str | None) -> int:
    """Start the daemon in the foreground.

    SIGTERM or Ctrl-C stops it: running jobs may finish within shutdown_grace; a second one hands
    them back at once. SIGHUP reloads queue.yaml.
    """
    from queued.daemon.master.signals import hangup_held  # noqa: PLC0415 - commands import when they run

    with hangup_held():
        loaded = load_config(config, connection)
        from queued.daemon.master.master import run  # noqa: PLC0415 - only if the configuration is right

        return run(loaded)


def request(config: Path, command: str, **arguments: Any) -> dict[str, Any]:
    """Ask the daemon of ``config``; return its answer.

    :raises NotRunning: there is none.
    :raises ControlError: it refuses, or does not answer.
    """
    from queued.daemon.master.control_client import ControlClient  # noqa: PLC0415 - commands import when they run

    try:
        return ControlClient(config).request(command, **arguments)
    except ControlError as error:
        if not isinstance(error.__cause__, _NOBODY):
            raise
        hint = f"start it with: queued start -c {config}"
        if not config.exists():
            hint = "there is no such file; name another with -c"
        raise NotRunning(f"no daemon runs with {config}; {hint}") from error.__cause__


@click.command(epilog=example("queued check && queued reload"))
@config_option
def reload(config: Path) -> None:
    """Apply queue.yaml to the running daemon: what did not change keeps its workers.

    A file with problems changes nothing, and they are shown. New code is for `queued restart`.
    """
    answer = request(config, "reload", timeout=None)
    for line in answer["changes"] or ["nothing has changed"]:
        click.echo(line)


@click.command(epilog=example("queued restart", "queued restart emails"))
@click.argument("pool", metavar="[POOL]", required=False)
@config_option
def restart(pool: str | None, config: Path) -> None:
    """Take new code into service, in all pools or in POOL, without a gap.

    The new code is imported first; only if that works are the workers replaced, each when its jobs
    are done. If it does not, the old code stays and the error is shown.
    """
    arguments = {} if pool is None else {"pool": pool}
    request(config, "restart", timeout=None, **arguments)
    click.echo(f"every worker{f' of {pool}' if pool else ''} runs the new code")


@click.command(epilog=example("queued scale emails 4", "queued scale emails auto"))
@click.argument("pool", metavar="QUEUE")
@click.argument("processes", type=Processes(), metavar="N|auto")
@config_option
@json_option
def scale(pool: str, processes: int | str, config: Path, *, as_json: bool) -> None:
    """Set how many workers QUEUE has; those that are one too many finish their jobs.

    It stays so until queue.yaml says something else of its processes or the daemon is started
    anew. A queue with a range, processes: {min, max}, is not scaled by itself any more, and N may
    be beyond the range; `auto` hands it back.
    """
    answer = request(config, "scale", pool=pool, processes=processes)
    if as_json:
        print_json(answer)
        return
    before, now, bounds = answer["before"], answer["processes"], answer.get("range")
    text = f"{pool}: {before} → {now} workers" if before != now else f"{pool}: {now} workers"
    if bounds is not None:
        by_itself = f"scaled within {bounds['min']}..{bounds['max']} from now on"
        by_hand = f"by hand; queued scale {pool} auto hands it back"
        text = f"{text}, {by_itself if processes == 'auto' else by_hand}"
    click.echo(text)


@click.command(epilog=example("queued stop"))
@config_option
def stop(config: Path) -> None:
    """Stop the running daemon, and return when it has ended.

    Running jobs may finish within shutdown_grace; a second `queued stop` hands them back at once.
    """
    request(config, "stop", timeout=None)
    click.echo("stopped")
