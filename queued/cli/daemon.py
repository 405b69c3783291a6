"""The daemon and the commands that speak to it: start, status, reload, restart, stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from queued.cli.failures import NotRunning, Refused
from queued.cli.options import (
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
    loaded = load_config(config, connection)
    from queued.daemon.master import run  # noqa: PLC0415 - only if the configuration is right

    return run(loaded)


def request(config: Path, command: str, **arguments: Any) -> dict[str, Any]:
    """Ask the daemon of ``config``; return its answer.

    :raises NotRunning: there is none.
    :raises ControlError: it refuses, or does not answer.
    """
    from queued.daemon.control import ControlClient  # noqa: PLC0415 - commands import when they run

    try:
        return ControlClient(config).request(command, **arguments)
    except ControlError as error:
        if isinstance(error.__cause__, _NOBODY):
            raise NotRunning(str(error)) from error.__cause__
        raise
