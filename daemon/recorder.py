"""The flight recorder of a worker: its last log lines and its stacks, in memory that outlives it.

It is the tail of the scoreboard's memfd, so it costs no descriptor, and no memory until something
is written. The worker writes, the master reads when the worker is dead.

    lines    the last log lines as they were written, secrets left out: a slot each
    places   where the jobs are that overrun, as the loop sees it: a coroutine that waits is on the
             stack of no thread
    stack    what faulthandler writes when a fatal signal comes, until the end of the file: it
             cannot grow
"""

from __future__ import annotations

import faulthandler
import fcntl
import mmap
import os
import re
import struct
from itertools import count

from queued.jobs.dossier import in_order

LINES = 20
"""Log lines that are kept."""
MAX_STACK = 16 * 1024
"""Characters of all stacks together, as read; the thread that died comes first."""
_LINE = struct.Struct("=Q1016s")  # number from 1, text
_PLACES = struct.Struct("=8192s")
_STACK_SIZE = 32 * 1024
SIZE = LINES * _LINE.size + _PLACES.size + _STACK_SIZE
_OUT_OF_THE_WAY = 500
"""The lowest number of the dump's descriptor: a job that closes all that it finds frees the low
ones, and a file that is opened then must not get the dump."""
_STANDARD_ERROR = 2

_TRUNK = re.compile(r"(?<= in run_worker)\n(?:.*/daemon/(?:programs|master/).*\n)(?s:.*)")
"""What the frames of every worker begin with: those of the processes that it was forked from."""
_COLOURS = re.compile(rb"\x1b\[[0-9;]*m")


class Recorder:
    """One worker's recorder, at ``start`` of a file that ends with it."""

    def __init__(self, fd: int, map_: mmap.mmap, start: int) -> None:
        self._fd = fd
        self._map = map_
        self._lines = start
        self._places = start + LINES * _LINE.size
        self._stack = self._places + _PLACES.size
        self._numbers = count(1)
        self._recording = False

    # the worker writes

    def arm(self) -> None:
        """Record this process from now on; not the processes that it forks."""
        global _armed  # noqa: PLW0603 - a process has one worker; the hook stays registered
        self._recording = True
        os.lseek(self._fd, self._stack, os.SEEK_SET)  # the offset of all its duplicates
        faulthandler.enable(_high_duplicate(self._fd), all_threads=True)
        _armed = self

    def disarm(self) -> None:
        """Record no more: stacks go to standard error."""
        global _armed  # noqa: PLW0603 - as above
        self._recording = False
        _armed = None
        faulthandler.enable(_STANDARD_ERROR, all_threads=True)

    def line(self, text: bytes) -> None:
        """Keep a log line. Any thread may call it: what it does is one step for the interpreter."""
        if self._recording:
            number = next(self._numbers)
            _LINE.pack_into(self._map, self._lines + number % LINES * _LINE.size, number, text)

    def places(self, text: str) -> None:
        """Say where the jobs are that overrun; empty: there are none any more."""
        if self._recording:
            _PLACES.pack_into(self._map, self._places, text.encode(errors="replace"))

    # the master reads

    def last_lines(self) -> list[str]:
        """Return the last log lines, oldest first; long ones are cut."""
        found = []
        for index in range(LINES):
            number, text = _LINE.unpack_from(self._map, self._lines + index * _LINE.size)
            if number:
                found.append((number, text))
        return [_line_text(text) for _, text in sorted(found)]

    def stack(self) -> str:
        """Return where the process was when it died, as far as it could say so; may be empty."""
        (places,) = _PLACES.unpack_from(self._map, self._places)
        dump = self._map[self._stack : self._stack + _STACK_SIZE]
        blocks = [*_blocks(places), *in_order(_blocks(dump))]
        text = "\n\n".join(blocks)
        return text if len(text) <= MAX_STACK else text[: MAX_STACK - 2] + "\n…"


def _line_text(text: bytes) -> str:
    cut = b"" if text.endswith(b"\0") else "…".encode()
    plain = _COLOURS.sub(b"", text.rstrip(b"\0"))
    return (plain.removesuffix(b"\n") + cut).decode(errors="replace")


def _blocks(text: bytes) -> list[str]:
    """Return the paragraphs of a dump: one for each thread, and what it died of."""
    blocks = text.rstrip(b"\0").decode(errors="replace").split("\n\n")
    return [_TRUNK.sub("", block.strip("\n")) for block in blocks if block.strip()]


def _high_duplicate(fd: int) -> int:
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _OUT_OF_THE_WAY)
    except OSError:  # fewer are allowed
        return fd


_armed: Recorder | None = None


def _after_fork() -> None:
    if _armed is not None:  # a job's fork: its crash is not the worker's
        _armed.disarm()


os.register_at_fork(after_in_child=_after_fork)
