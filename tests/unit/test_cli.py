"""The command line itself: help, usage, exit codes, failures, pipes and Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from queued.cli import Commands, cli
from queued.cli.exits import MEANINGS, Exit
from queued.cli.failures import NotRunning, Refused, run
from queued.cli.output import plural, print_fields, print_table
from queued.errors import (
    AlreadyRunning,
    ConfigError,
    ControlError,
    DriverUnavailable,
    ImportFailed,
    UnknownJob,
)
from tests.unit.commands import Application, application

QUEUED = Path(sys.executable).with_name("queued")

app = pytest.fixture(application)

LEAVES = [
    (*path, name)
    for path, group in (((), cli), (("failed",), cli.get_command(click.Context(cli), "failed")))
    for name in group.list_commands(click.Context(group))  # type: ignore[union-attr]
]


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_has_help_with_an_example(app: Application, path: tuple[str, ...]) -> None:
    answer = app(*path, "--help")
    assert answer.code == Exit.OK
    assert answer.out.startswith(f"Usage: queued {' '.join(path)}")
    assert re.search(rf"Example:\n  .*queued {path[0]}\b", answer.out)


def test_the_summaries_are_those_of_the_commands(app: Application) -> None:
    for name, (_, summary) in Commands.table.items():
        command = cli.get_command(click.Context(cli), name)
        assert command
        assert command.name == name
        assert summary in app("--help").out


def test_help_shows_every_exit_code(app: Application) -> None:
    text = app("-h").out
    for code, meaning in MEANINGS.items():
        assert re.search(rf"\n +{code.value} +{meaning}", text)


def test_the_version(app: Application) -> None:
    from queued import __version__

    assert app("--version").out == f"queued {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["strat"], 'queued: no such command "strat"; did you mean "start"? See: queued --help'),
        (["xyzzy"], "queued: no such command 'xyzzy'; see: queued --help"),
        (["check", "--jsno"], "queued: no such option"),
        (["job"], "queued: missing argument 'ID'; see: queued job --help"),
        (["job", "a", "b"], "queued: got unexpected extra argument (b); see: queued job --help"),
        (["dispatch", "x", "{}", "--delay", "soon"], "expected a duration such as 30s"),
        (["dispatch", "x", "{}", "--delay", "-3"], "a duration cannot be negative"),
        (["failed", "list", "--limit", "0"], "0 is not in the range 1<=x<=1000"),
        (["failed", "retry"], "or say --all; see: queued failed retry --help"),
        (["failed", "retry", "x", "--all"], "by ID or by filters, not by both"),
        (["failed", "xyzzy"], "no such command 'xyzzy'; see: queued failed --help"),
        (["work", "--max-jobs", "x"], "'x' is not a valid integer"),
    ],
)  # fmt: skip
def test_a_wrong_command_line_is_one_line(
    app: Application, arguments: list[str], line: str
) -> None:
    assert line in app(*arguments).refused(Exit.USAGE)


@pytest.mark.parametrize("arguments", [[], ["failed"]])
def test_a_group_alone_shows_its_help(app: Application, arguments: list[str]) -> None:
    answer = app(*arguments)
    assert (answer.code, answer.out) == (Exit.USAGE, "")
    assert answer.err.startswith("Usage: queued")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigError(["a: x"]), 78, "queued: a: x\n"),
        (ConfigError(["a: x", "b: y"]), 78, "queued: a: x\nqueued: b: y\n"),
        (ImportFailed("app.py:3: boom"), 78, "queued: app.py:3: boom\n"),
        (AlreadyRunning("already running (pid 3)"), 75, "queued: already running (pid 3)\n"),
        (DriverUnavailable("Redis cannot be reached: refused.", ["id"]), 69,
         "queued: Redis cannot be reached: refused; start it, or name another with --connection\n"),
        (DriverUnavailable("Redis: it refuses the login"), 69,
         "queued: Redis: it refuses the login\n"),
        (NotRunning("start it"), 3, "queued: start it\n"),
        (ControlError("refused"), 1, "queued: refused\n"),
        (UnknownJob("no such job"), 1, "queued: no such job\n"),
        (Refused("no"), 1, "queued: no\n"),
        (ZeroDivisionError("by\nzero"), 70,
         "queued: internal error: ZeroDivisionError: by zero; QUEUED_DEBUG=1 shows where\n"),
        (click.UsageError("Bad thing."), 2, "queued: bad thing; see: queued --help\n"),
        (click.ClickException("Bad thing."), 2, "queued: bad thing; see: queued --help\n"),
        (KeyboardInterrupt(), 130, "\n"),
        (click.exceptions.Exit(5), 5, ""),
    ],
)  # fmt: skip
def test_an_error_is_a_line_and_a_code(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, said: str
) -> None:
    @click.command
    def fails() -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        run(fails, [])
    assert ended.value.code == code
    assert capsys.readouterr().err == said


def test_debug_shows_the_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    @click.command
    def fails() -> None:
        raise Refused("no")

    monkeypatch.setenv("QUEUED_DEBUG", "1")
    with pytest.raises(SystemExit):
        run(fails, [])
    assert "Traceback" in capsys.readouterr().err


def test_help_imports_nothing_that_is_slow() -> None:
    program = (
        "import sys; sys.argv = ['queued', '--help']\n"
        "from queued.cli import main\n"
        "try: main()\n"
        "except SystemExit: print(*sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    loaded = set(answer.stdout.decode().splitlines()[-1].split())
    assert "click" in loaded
    slow = {"yaml", "pydantic", "rich", "sqlalchemy", "redis", "uvloop", "starlette"}
    assert not loaded & slow
    assert not [name for name in loaded if name.startswith(("queued.config", "queued.daemon"))]


def test_a_reader_that_has_enough_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(
        [QUEUED, "schema"], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert process.stderr == b""
    assert process.returncode == Exit.BROKEN_PIPE


def test_ctrl_c_is_clean(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [QUEUED, "dispatch", "x", "-"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_for_read(process.pid)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == Exit.INTERRUPTED
    assert b"Traceback" not in err


def wait_for_read(pid: int) -> None:
    """Wait until a process blocks on its standard input."""
    import time

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        # the number of read(2), and descriptor 0
        call = Path(f"/proc/{pid}/syscall").read_text().split()
        if call[:2] == ["0", "0x0"]:
            return
        time.sleep(0.01)
    raise AssertionError("the command does not read its input")


def test_nothing_that_is_printed_drives_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name",), [("a\x1b[31mred\n[bold]x[/bold]",)])
    print_fields([("name", "b\x1b]0;title\x07"), ("none", None)])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "a\\x1b[31mred\\n[bold]x[/bold]" in out
    assert "none" not in out


def test_a_table_is_not_cut_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name", "count"), [("x" * 500, 3)], right=("count",))
    assert "x" * 500 in capsys.readouterr().out


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    ends = os.openpty()
    yield ends
    for end in ends:
        os.close(end)


@pytest.mark.parametrize(("environ", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_are_for_terminals(
    terminal: tuple[int, int], environ: dict[str, str], coloured: bool
) -> None:
    program = "from queued.cli.output import print_table; print_table(('state',), [('failed',)])"
    clean = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    subprocess.run(
        [sys.executable, "-c", program],
        stdout=terminal[1],
        check=True,
        env={**clean, "TERM": "xterm-256color", **environ},
    )
    assert ("\x1b[31m" in os.read(terminal[0], 10_000).decode()) is coloured


def test_plurals() -> None:
    assert [plural(count, "job") for count in (0, 1, 2)] == ["0 jobs", "1 job", "2 jobs"]


@pytest.mark.parametrize(
    "command", ["dispatch x.Job", "check", "start", "status", "work --queue default", "job a"]
)
def test_a_working_directory_that_is_gone_is_said_in_one_line(
    app: Application, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    (gone := tmp_path / "gone").mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    line = app(*command.split()).refused(Exit.PROBLEM if command != "job a" else Exit.CONFIG)
    assert "internal" not in line
    assert "working directory has been removed" in line or "no such file" in line
