"""A command on a terminal of its own, as somebody in front of it sees it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tests.process.harness import PATIENCE, QUEUED, Daemon, until

ON_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
CONTROL = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|\][^\x07]*\x07|[()][A-Z0-9]|[=>])")
HOME = "\x1b[H"


class Screen:
    """A ``queued`` command that runs on a terminal with so many columns and rows."""

    def __init__(self, running: Daemon, *arguments: str, columns: int = 80, rows: int = 24) -> None:
        self.columns, self.rows = columns, rows
        self.raw = b""
        self._ours, theirs = pty.openpty()
        self.resize(columns, rows)
        self.modes = termios.tcgetattr(self._ours)
        os.set_blocking(self._ours, False)
        # Some shells export the size; it is true at first.
        size = {"COLUMNS": str(columns), "LINES": str(rows)}
        environment = {"TERM": "xterm-256color", **size}
        self.process = subprocess.Popen(
            [sys.executable, "-c", ON_TERMINAL, QUEUED, *arguments],
            cwd=running.folder,
            env=running.environment | environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)

    def resize(self, columns: int, rows: int) -> None:
        """Change the window; the kernel tells the command."""
        self.columns, self.rows = columns, rows
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def read(self) -> str:
        """Return all that was written so far."""
        with suppress(OSError):  # nothing more for now, or the command is gone
            while more := os.read(self._ours, 65_536):
                self.raw += more
        return self.raw.decode(errors="ignore")

    @property
    def lines(self) -> list[str]:
        """The last picture that was drawn whole, without colours.

        Every line of a picture is as wide as the window was, the last one, too.
        """
        for frame in reversed(self.read().split(HOME)[1:]):
            lines = CONTROL.sub("", frame).replace("\r", "").split("\n")
            if len({len(line) for line in lines}) == 1:
                return [line.rstrip() for line in lines]
        return []

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def until(self, condition: Callable[[str], Any], what: str) -> str:
        """Wait until the picture is as it should be; return it."""

        def right() -> str:
            text = self.text
            return text if text and condition(text) else ""

        try:
            return str(until(right, what))
        except AssertionError as error:
            raise AssertionError(f"{error}\nthe screen:\n{self.text}") from None

    def wait(self) -> int:
        """Wait for the end of the command; return its exit code."""
        until(lambda: self.read() and self.process.poll() is not None, "the end of the command")
        return self.process.wait(PATIENCE)

    def is_given_back(self) -> bool:
        """Whether the terminal is as it was before the command."""
        text = self.read()
        shown = text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")
        normal = text.rfind("\x1b[?1049l") > text.rfind("\x1b[?1049h")
        return shown and normal and termios.tcgetattr(self._ours) == self.modes

    def hang_up(self) -> None:
        """Close the window."""
        os.close(self._ours)
        self._ours = -1

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE)
        if self._ours >= 0:
            os.close(self._ours)
