"""Options that several commands have, and where they find the back-end."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from queued.environment import DEFAULT_CONFIG
from queued.errors import ConfigError

if TYPE_CHECKING:
    from queued.config.load import LoadedConfig
    from queued.drivers.base import RateLimit

    _DurationType = click.ParamType[float]
    _RateType = click.ParamType[RateLimit]
    _TextType = click.ParamType[str]
    _ProcessesType = click.ParamType[int | str]
    _MomentType = click.ParamType[datetime]
else:
    _DurationType = _RateType = _TextType = _ProcessesType = _MomentType = (
        click.ParamType
    )  # older versions of click have it without a parameter

F = TypeVar("F", bound=Callable[..., Any])


def _off_the_process_list(ctx: click.Context, param: click.Parameter, value: Any) -> Any:  # noqa: ARG001 - click's signature
    """Take a URL, and the password in it, out of what `ps` shows everybody."""
    if value:
        from queued.daemon import titles  # noqa: PLC0415 - only where it is used

        titles.show(ctx.command_path.removeprefix("queued "))
    return value


class _ConfigPath(click.Path):
    """A path that the system can look up; whether there is a file is for the command to say."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            pass
        except (OSError, ValueError) as error:
            self.fail(getattr(error, "strerror", None) or str(error), param, ctx)
        return path


config_option = click.option(
    "-c",
    "--config",
    "config",
    type=_ConfigPath(path_type=Path),
    envvar="QUEUED_CONFIG",
    default=DEFAULT_CONFIG,
    metavar="FILE",
    help="The queue.yaml; by default $QUEUED_CONFIG, else ./queue.yaml.",
)
connection_option = click.option(
    "--connection",
    metavar="URL",
    callback=_off_the_process_list,
    help="The back-end; wins over QUEUE_CONNECTION and queue.yaml.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask; scripts are never asked.")


def backend_options(command: F) -> F:
    """Give a command ``--config``, ``--connection`` and ``--json``."""
    return config_option(connection_option(json_option(command)))


def example(*lines: str) -> str:
    """Return the epilog of a command: how it is typed."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


class Duration(_DurationType):
    """Seconds, given as a number or as ``30s``, ``5m``."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        from queued.units import parse_duration  # noqa: PLC0415 - only where it is used

        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Moment(_MomentType):
    """A date and time as in ISO 8601; without a zone it is this host's."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        try:
            return datetime.fromisoformat(value).astimezone()
        except (ValueError, OverflowError):
            example_ = "2026-07-01T09:00 or 2026-07-01T09:00+02:00"
            self.fail(f"expected a time such as {example_}, got {value!r}", param, ctx)


class Processes(_ProcessesType):
    """A number of workers, or ``auto``."""

    name = "number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        if str(value).lower() == "auto":
            return "auto"
        if not (str(value).isascii() and str(value).isdecimal()):
            self.fail(f"expected a number of workers, or auto, got {value!a}", param, ctx)
        return int(value)


class Since(_DurationType):
    """A time, given as how long ago (``1h``) or as a date and time of ISO 8601 (local time)."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        from queued.units import parse_duration  # noqa: PLC0415 - only where it is used

        if isinstance(value, float):
            return value
        try:
            return time.time() - parse_duration(value)
        except ValueError:
            pass
        try:
            return datetime.fromisoformat(value).timestamp()
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r} is neither like 30m, 1h, 2d nor like 2026-01-31T12:00", param, ctx
            )


class Rate(_RateType):
    """A rate limit, given as ``100/1m``."""

    name = "rate"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> RateLimit:
        from queued.config.rates import rate_limit  # noqa: PLC0415 - only where it is used

        try:
            return rate_limit(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class JobId(_TextType):
    """The id of a job: what cannot be one is refused before any back-end is asked."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from queued.drivers.base import ID_PATTERN  # noqa: PLC0415 - only where it is used

        if not ID_PATTERN.fullmatch(value):
            self.fail(f"{value!a} is no id: up to 64 letters, digits and _.:-", param, ctx)
        return str(value)


class QueueName(_TextType):
    """The name of a queue: it becomes a part of the back-end's keys."""

    name = "queue"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from queued.drivers.base import QUEUE_PATTERN  # noqa: PLC0415 - only where it is used

        if not QUEUE_PATTERN.fullmatch(value):
            self.fail(f"{value!a} is no queue's name: up to 64 letters, digits, _.:-", param, ctx)
        return str(value)


queue_option = click.option("--queue", type=QueueName(), metavar="QUEUE", help="Only this queue.")


def load_config(config: Path, connection: str | None = None) -> LoadedConfig:
    """Load queue.yaml for a command.

    :raises ConfigError: it is wrong or missing.
    """
    from queued.config.load import load  # noqa: PLC0415 - pydantic takes 100 ms to import

    return load(config, connection=connection)


def find_url(config: Path, connection: str | None) -> str:
    """Return the back-end for a command that needs nothing else of queue.yaml.

    :raises ConfigError: nothing names one, or what does is wrong.
    """
    from queued.environment import connection_from, find_connection, normalise  # noqa: PLC0415

    if connection:
        try:
            return normalise(connection, Path.cwd())
        except ConfigError as error:
            raise ConfigError([f"--connection: {one}" for one in error.problems]) from None
    named = connection_from(os.environ)
    if named:
        return named[0]
    if not config.exists():
        hint = "name another with -c, or a back-end with --connection"
        raise ConfigError([f"{config}: no such file; {hint}"])
    return find_connection({**os.environ, "QUEUED_CONFIG": str(config)}, Path.cwd())[0]


def confirmed(question: str, *, yes: bool) -> bool:
    """Return whether to go on: asked at a terminal, unless ``--yes`` was given."""
    if yes or not sys.stdin.isatty():
        return True
    return click.confirm(question, err=True)
