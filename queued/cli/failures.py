"""How a command ends: one line on standard error that says what to do, and an exit code.

No traceback is shown unless QUEUED_DEBUG is set.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from queued.cli.exits import Exit
from queued.errors import (
    AlreadyRunning,
    ConfigError,
    DriverUnavailable,
    ImportFailed,
    QueuedError,
)
from queued.jobs.text import one_line


class Refused(QueuedError):
    """The command cannot do what it was asked to; the message says why and what to do."""


class NotRunning(QueuedError):
    """The daemon that the command wants to speak to does not run."""


_CODES: tuple[tuple[type[BaseException], Exit], ...] = (
    (ConfigError, Exit.CONFIG),
    (ImportFailed, Exit.CONFIG),
    (AlreadyRunning, Exit.ALREADY_RUNNING),
    (NotRunning, Exit.NOT_RUNNING),
    (DriverUnavailable, Exit.UNAVAILABLE),
    (QueuedError, Exit.PROBLEM),
)


def run(command: click.Command, arguments: list[str] | None = None) -> NoReturn:
    """Run a command line, and exit with its code."""
    try:
        code = _call(command, arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # the reader has enough (`queued failed list | head`): nothing is wrong, and nothing more
        # must be written when Python flushes at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = Exit.BROKEN_PIPE
    sys.exit(code)


def _call(command: click.Command, arguments: list[str] | None) -> int:
    out = sys.stdout
    try:
        code = command.main(arguments, prog_name="queued", standalone_mode=False)
    except (click.exceptions.Exit, click.ClickException, click.Abort) as error:
        return _end(error)
    except QueuedError as error:
        _debug()
        for line in _lines(error):
            say(line)
        return next(code for kind, code in _CODES if isinstance(error, kind))
    except SystemExit:
        if sys.stdout is not out:  # click's way out of a broken pipe
            raise BrokenPipeError from None
        raise
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - the last resort
        _debug()
        if isinstance(error, FileNotFoundError) and _is_nowhere():
            say("the working directory has been removed; cd to one that is there")
            return Exit.PROBLEM
        text = " ".join(f"{type(error).__name__}: {error}".split())
        say(f"internal error: {text}; QUEUED_DEBUG=1 shows where")
        return Exit.INTERNAL
    return code if isinstance(code, int) else Exit.OK


def _is_nowhere() -> bool:
    """Tell whether relative paths, also that of ./queue.yaml, lead nowhere any more."""
    try:
        os.getcwd()  # noqa: PTH109 - Path.cwd() is the same
    except FileNotFoundError:
        return True
    return False


def _lines(error: QueuedError) -> list[str]:
    """Return what is said of an error, with what to do about it."""
    lines = str(error).splitlines() or [type(error).__name__]
    if isinstance(error, DriverUnavailable) and "cannot be reached" in lines[-1]:
        lines[-1] = f"{lines[-1].rstrip('.')}; start it, or name another with --connection"
    return lines


def _end(error: click.exceptions.Exit | click.ClickException | click.Abort) -> int:
    """Return the code of an end that click asks for; say what was wrong on the command line."""
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, click.Abort):  # Ctrl-C, or no answer to a question
        return Exit.INTERRUPTED
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return Exit.USAGE
    message = error.format_message().rstrip(".").replace(". Did you mean", "; did you mean")
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context else "queued"
    if message[1:2].islower():  # "No such option", but not "JSON"
        message = message[0].lower() + message[1:]
    say(f"{message}{' See' if message.endswith('?') else '; see'}: {path} --help")
    return Exit.USAGE


def say(text: str) -> None:
    """Write one line to standard error, with our name before it.

    It may hold what others wrote (a queue.yaml, a job): nothing in it drives the terminal.
    """
    click.echo(f"queued: {one_line(text, 2_000)}", err=True)


def _debug() -> None:
    if os.environ.get("QUEUED_DEBUG"):
        import traceback  # noqa: PLC0415 - almost never

        traceback.print_exc()
