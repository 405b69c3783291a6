"""How lines of the log are written: whole, and never waiting for long.

Whoever reads standard error may hang: a terminal that is held with Ctrl-S, a log shipper. The
daemon must go on all the same, its master and its monitor above all.
"""

from __future__ import annotations

import os
import select
import socket
import stat
import time
from collections.abc import Callable

import structlog

READER_PATIENCE = 0.5
"""Seconds that a line waits for whoever reads the log; those after it do not."""


class Lines:
    """structlog's last link: each line is one write to a descriptor.

    No lock and no buffer, so that a fork in the middle of a line, by a job or by us, leaves no
    process with a lock held for ever, and lines of several processes do not mix. A reader that has
    stopped reading is waited for once; then lines are dropped and counted until it reads again.
    """

    def __init__(self, fd: int, copy: Callable[[bytes], None] | None = None) -> None:
        self._fd = fd
        self._copy = copy
        self._dropped = 0
        """Lines, since the last one that was written,"""
        self._errors = 0
        """and how many of them told of errors."""
        self._torn = False
        """The last line that was written lacks its end."""

    def msg(self, line: str) -> None:
        self._put(line, errors=0)

    def error(self, line: str) -> None:
        self._put(line, errors=1)

    debug = info = warning = warn = log = msg
    critical = exception = fatal = error

    def _put(self, line: str, errors: int) -> None:
        data = line.encode(errors="backslashreplace") + b"\n"
        if self._copy is not None:
            self._copy(data)
        if not self._write(b"\n" * self._torn + data):
            self._dropped += 1
            self._errors += errors
        elif self._dropped:
            self._tell_dropped()

    def _tell_dropped(self) -> None:
        dropped, errors = self._dropped, self._errors
        self._dropped = self._errors = 0
        log = structlog.get_logger()
        emit = log.error if errors else log.warning
        emit("log.dropped", lines=dropped, errors=errors, hint="standard error took no more")

    def _write(self, data: bytes) -> bool:
        deadline = time.monotonic() + (0.0 if self._dropped else READER_PATIENCE)
        while data:
            try:
                written = write_at_once(self._fd, data)
            except BlockingIOError:
                left = deadline - time.monotonic()
                if left <= 0 or not select.select([], [self._fd], [], left)[1]:
                    return False
            except OSError:  # the reader is gone: to run jobs matters more than to log
                return False
            else:
                data = data[written:]
                self._torn = bool(data)
        return True


def write_at_once(fd: int, data: bytes) -> int:
    """Write what a descriptor takes without waiting, whatever it is; return how many bytes.

    Its own flags stay as they are: they are those of every process that shares what is behind it,
    a terminal or a pipe of the service manager's. A pipe is opened once more instead.

    :raises BlockingIOError: it takes nothing now.
    """
    kind = stat.S_IFMT(os.fstat(fd).st_mode)
    if kind == stat.S_IFREG:
        return os.write(fd, data)
    if kind == stat.S_IFSOCK:
        # Non-blocking for this object alone; else socket.setdefaulttimeout() of a job holds for it.
        kind_of_ours = socket.SOCK_STREAM | getattr(socket, "SOCK_NONBLOCK", 0)
        sock = socket.socket(type=kind_of_ours, fileno=fd)
        try:
            return sock.send(data, socket.MSG_DONTWAIT | getattr(socket, "MSG_NOSIGNAL", 0))
        finally:
            sock.detach()
    try:
        own = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:  # there is no such folder, the pipe is another user's, or nobody's
        if not select.select([], [fd], [], 0)[1]:
            raise BlockingIOError from None
        return os.write(fd, data[: select.PIPE_BUF])
    try:
        return os.write(own, data)
    finally:
        os.close(own)
