"""What a process that a job forks must not inherit of its worker.

Such a process shares the worker's wake-up descriptor, so that a SIGTERM sent to it would look like
one to the worker; its open end of the channel would hide the worker's end from the master; and if
the job's code returns into the event loop, there would be two workers of one owner.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from contextlib import suppress
from typing import NamedTuple

from queued.daemon.channel import Channel

SIGNALS = (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT)
"""What a worker handles."""
STRAYED = 70
"""Exit code of a forked process that came back to the worker's loop."""


class _Heritage(NamedTuple):
    loop: asyncio.AbstractEventLoop
    thread: int
    channel: Channel | None


_heritage: _Heritage | None = None


def disinherit(loop: asyncio.AbstractEventLoop, channel: Channel | None) -> None:
    """From now on, processes forked from this one get nothing of the worker's."""
    global _heritage  # noqa: PLW0603 - a process has one worker, and hooks cannot be unregistered
    _heritage = _Heritage(loop, threading.get_ident(), channel)


def forget() -> None:
    """The worker has ended: forks are nobody's business any more."""
    global _heritage  # noqa: PLW0603 - as above
    _heritage = None


def _after_fork() -> None:
    if _heritage is None:
        return
    loop, thread, channel = _heritage
    forget()
    signal.set_wakeup_fd(-1)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if channel is not None:
        with suppress(OSError):
            os.close(channel.fileno())  # no shutdown: the worker goes on speaking
    if threading.get_ident() == thread:
        loop.call_soon(os._exit, STRAYED)


os.register_at_fork(after_in_child=_after_fork)
