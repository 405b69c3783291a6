"""Signals as events: handlers do nothing but write to a pipe that the loop reads.

``signal.set_wakeup_fd`` writes the number from C, whatever Python is doing; the loop picks the
numbers up in order. A fork blocks all signals until the child has undone this, or a signal meant
for the child would be read by the parent from the pipe that they share.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

HANDLED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGTSTP,
    signal.SIGCHLD,
)


class SignalPipe:
    """Collects the signals of ``HANDLED`` from ``open`` to ``close``; main thread only."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._handlers = {number: signal.signal(number, _noted) for number in HANDLED}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)

    def fileno(self) -> int:
        return self._read

    def receive(self) -> list[int]:
        """Return the numbers of the signals that have arrived, in order; never blocks."""
        try:
            return list(os.read(self._read, 4096))
        except BlockingIOError:
            return []

    def close(self) -> None:
        """Put everything back as it was."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._read)
        os.close(self._write)


def _noted(*_: object) -> None:
    """Be there: without a Python handler nothing is written to the pipe."""


@contextmanager
def hangup_held() -> Iterator[None]:
    """Keep a SIGHUP until a ``SignalPipe`` is there: it asks for a reload, and would end us."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def has_terminal() -> bool:
    """Whether this process hangs on a terminal, and a hang-up would be its end, not its reload.

    False where there is none, where it is gone, and under ``nohup``.
    """
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return False
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


@contextmanager
def blocked() -> Iterator[None]:
    """Hold every signal back meanwhile. A child forked within starts with all of them blocked."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def restore_defaults() -> None:
    """Give a fresh child the dispositions of a fresh process, and let signals in."""
    signal.set_wakeup_fd(-1)
    keep = {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE, getattr(signal, "SIGXFSZ", None)}
    for number in signal.valid_signals() - keep:  # Python ignores SIGPIPE and SIGXFSZ itself
        with suppress(OSError, ValueError):  # some are the C library's own
            if signal.getsignal(number) not in {signal.SIG_DFL, None}:
                signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
