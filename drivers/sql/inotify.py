"""Hears of writes to one file, through Linux's inotify; elsewhere it says how often to look."""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_IN_MODIFY, _IN_ATTRIB, _IN_MOVE_SELF, _IN_DELETE_SELF = 0x2, 0x4, 0x800, 0x400
_IN_IGNORED = 0x8000  # the watch is gone, with the file
_MASK = _IN_MODIFY | _IN_ATTRIB | _IN_MOVE_SELF | _IN_DELETE_SELF
_EVENT = struct.Struct(
    "iIII"
)  # watch, mask, cookie, length of a name: none, since no folder is watched

_BUFFER = 256 * _EVENT.size

WITH_EVENTS, WITHOUT_EVENTS = 1.0, 0.04
"""Seconds after which a waiter should look again although nothing was heard."""


class FileWatch:
    """Waits until a file is written (``changed``), and counts how often it was touched.

    What happens between two waits is kept by the kernel and heard by the next. Several tasks of one
    loop may wait at a time.
    """

    def __init__(self, path: Path) -> None:
        self.poll = WITHOUT_EVENTS
        self._path = path
        self._descriptor = -1
        self._watching = False
        self._waiting = 0
        self._heard = asyncio.Event()

    def open(self) -> None:
        """Start to hear. Where there is no inotify, or none left to be had, ``poll`` is short."""
        self._heard = asyncio.Event()
        if self._descriptor < 0 and (descriptor := _inotify_init()) >= 0:
            self._descriptor, self.poll = descriptor, WITH_EVENTS
            self._watch()

    def close(self) -> None:
        if self._waiting and self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._watching, self.poll = -1, False, WITHOUT_EVENTS

    def hear(self) -> None:
        """Take note of all that happened so far: ``changed`` is about what comes after."""
        with suppress(BlockingIOError):
            while self._descriptor >= 0:
                for _, mask, _, _ in _EVENT.iter_unpack(os.read(self._descriptor, _BUFFER)):
                    self._watching = self._watching and not mask & _IN_IGNORED
                self._heard.set()
        self._heard.clear()

    async def changed(self, timeout: float) -> bool:  # noqa: ASYNC109 - a bound, not an error
        """Return True once the file is written, False after ``timeout``.

        The loop is bothered for the first write only, and by none while nobody waits here.
        """
        self._watch()
        with self._listening(), suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                return await self._heard.wait()
        return False

    @contextmanager
    def _listening(self) -> Iterator[None]:
        if self._descriptor < 0:
            yield
            return
        loop, descriptor = asyncio.get_running_loop(), self._descriptor
        if not self._waiting:
            loop.add_reader(descriptor, self.hear)
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
            if not self._waiting and self._descriptor == descriptor:
                loop.remove_reader(descriptor)

    def _watch(self) -> None:
        """Watch the file that is there now; one that comes later is found by looking."""
        if self._descriptor >= 0 and not self._watching:
            path = os.fsencode(self._path)
            self._watching = _libc().inotify_add_watch(self._descriptor, path, _MASK) >= 0


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def _inotify_init() -> int:
    """Return a new inotify descriptor; -1 where there is none."""
    init = getattr(_libc(), "inotify_init1", None)
    return -1 if init is None else int(init(os.O_NONBLOCK | os.O_CLOEXEC))
