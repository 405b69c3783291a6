"""A terminal taken over for a while: keys as they are struck, signals as events, a screen to draw.

Whatever ends the program, the terminal is given back as it was. Signals come through a pipe, so the
one who waits for a key is woken by a change of the window, and nothing is torn in the middle.
"""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

SIGNALS = {
    signal.SIGWINCH: "resize",
    signal.SIGINT: "quit",
    signal.SIGTERM: "quit",
    signal.SIGHUP: "quit",
    signal.SIGTSTP: "suspend",
}
KEYS = {
    b"\x1b[A": "up", b"\x1b[B": "down", b"\x1b[C": "right", b"\x1b[D": "left",
    b"\x1bOA": "up", b"\x1bOB": "down", b"\x1bOC": "right", b"\x1bOD": "left",
    b"\x1b[5~": "pageup", b"\x1b[6~": "pagedown", b"\x1b": "escape",
    b"\x03": "quit", b"\x04": "quit", b" ": "space",
}  # fmt: skip
"""What terminals send for keys that are no letters; ^C and ^D where the terminal makes no signal
of them."""
UNKNOWN = 80, 24
"""The size of a terminal that does not say it."""
_KEY = re.compile(rb"\x1b\[[0-9;]*[A-Za-z~]|\x1bO[A-Z]|.", re.DOTALL)
_MANY = 256
"""Bytes that are read at a time."""


class Terminal:
    """The terminal of this process; see ``taken``. For the main thread."""

    def __init__(self, console: Console) -> None:
        from rich.live import Live  # noqa: PLC0415 - 60 ms, only where something is drawn

        self._console = console
        self._screen = Live(console=console, screen=True, auto_refresh=False)
        self._keyboard = sys.stdin.fileno() if sys.stdin.isatty() else None
        self._cooked: list[Any] | None = None
        self._awake, self._wakeup = os.pipe()
        for end in (self._awake, self._wakeup):
            os.set_blocking(end, False)
        self._old_wakeup = signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)
        self._handlers = {number: signal.signal(number, _noted) for number in SIGNALS}

    def draw(self, picture: Callable[[int, int], RenderableType]) -> None:
        """Replace the whole screen by what ``picture`` makes for its width and height."""
        # Not as the console has it, which believes an exported COLUMNS for ever.
        columns, lines = os.get_terminal_size(sys.stdout.fileno())
        width, height = columns or UNKNOWN[0], lines or UNKNOWN[1]
        self._console.width, self._console.height = width, height
        self._screen.update(picture(width, height), refresh=True)

    def wait(self, seconds: float) -> list[str]:
        """Return the keys and events that come within ``seconds``, as soon as there are any.

        Keys are letters, or the names in ``KEYS``; events are ``resize`` and ``quit``. When it was
        suspended (^Z) it comes back with a ``resize``.
        """
        sources = [self._awake, *([] if self._keyboard is None else [self._keyboard])]
        readable, _, _ = select.select(sources, [], [], max(0.0, seconds))
        events = []
        if self._awake in readable:
            numbers = os.read(self._awake, 4096)
            events = [SIGNALS[number] for number in map(signal.Signals, numbers)]
        if self._keyboard in readable:
            events += self._keys()
        if "suspend" in events:
            self._suspend()
            events = ["resize" if event == "suspend" else event for event in events]
        return events

    def _keys(self) -> list[str]:
        assert self._keyboard is not None
        try:
            struck = os.read(self._keyboard, _MANY)
        except OSError:  # the terminal is gone
            struck = b""
        if not struck:
            return ["quit"]
        return [KEYS.get(key, key.decode(errors="ignore")) for key in _KEY.findall(struck)]

    def enter(self) -> None:
        """Take the terminal."""
        if self._keyboard is not None:
            self._cooked = termios.tcgetattr(self._keyboard)
            tty.setcbreak(self._keyboard)
        self._screen.start()

    def leave(self) -> None:
        """Give it back as it was."""
        with suppress(OSError, termios.error):  # it is gone
            self._screen.stop()
            if self._keyboard is not None and self._cooked is not None:
                termios.tcsetattr(self._keyboard, termios.TCSADRAIN, self._cooked)

    def _suspend(self) -> None:
        self.leave()
        os.kill(os.getpid(), signal.SIGSTOP)
        self.enter()

    def close(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        signal.set_wakeup_fd(self._old_wakeup)
        os.close(self._awake)
        os.close(self._wakeup)


@contextmanager
def taken(console: Console) -> Iterator[Terminal]:
    """Yield the terminal, taken; it is given back after."""
    terminal = Terminal(console)
    try:
        terminal.enter()
        try:
            yield terminal
        finally:
            terminal.leave()
    finally:
        terminal.close()


def _noted(*_: object) -> None:
    """Be there: without a Python handler nothing is written to the pipe."""
