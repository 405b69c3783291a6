"""What a process that a job forks must not inherit of its worker.

Such a process shares the worker's wake-up descriptor, so that a SIGTERM sent to it would look like
one to the worker, and would not end it: none reaches it before it has handlers of its own. Its open
end of the channel would hide the worker's end from the master; and if the job's code returns to us,
there would be two workers of one owner, on the same connections.
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import os
import select
import signal
import threading
from contextlib import suppress
from typing import NamedTuple, NoReturn

from queued.daemon.channel import Channel

SIGNALS = (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT)
"""What a worker handles."""
STRAYED = 70
"""Exit code of a forked process that came back to us."""


strayed = False
"""Whether this process was forked by a job: if its code returns to us, it has to end."""


class _Heritage(NamedTuple):
    loop: asyncio.AbstractEventLoop
    channel: Channel | None


_heritage: _Heritage | None = None


def disinherit(loop: asyncio.AbstractEventLoop, channel: Channel | None) -> None:
    """From now on, processes forked from this one get nothing of the worker's."""
    global _heritage, strayed  # noqa: PLW0603 - a process has one worker; hooks stay registered
    _heritage = _Heritage(loop, channel)
    strayed = False


def forget() -> None:
    """The worker has ended: forks are nobody's business any more."""
    global _heritage  # noqa: PLW0603 - as above
    _heritage = None


def end_strayed() -> NoReturn:
    """End a process that came back from a job's fork, leaving all to the worker."""
    os._exit(STRAYED)


_masks = threading.local()
"""The signals that each thread blocks, while it forks."""


def _before_fork() -> None:
    if _heritage is not None:
        _masks.mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def _forked() -> None:
    mask = _masks.__dict__.pop("mask", None)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _in_child() -> None:
    try:
        _disown()
    finally:
        _forked()


def _disown() -> None:
    global strayed  # noqa: PLW0603 - as above
    if _heritage is None:
        return
    loop, channel = _heritage
    forget()
    strayed = True
    # No thread of a pool is here any more, but for the one that forked: when that ends by Python's
    # ways, as in multiprocessing, it would be told to wait for itself.
    concurrent.futures.thread._threads_queues.clear()  # type: ignore[attr-defined]  # noqa: SLF001
    signal.set_wakeup_fd(-1)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if channel is not None:
        with suppress(OSError):
            os.close(channel.fileno())  # no shutdown: the worker goes on speaking
    _deafen(loop)


def _deafen(loop: asyncio.AbstractEventLoop) -> None:
    """Should the job await something in here, the loop must not read what is the worker's."""
    backend = getattr(loop, "_get_backend_id", None)  # uvloop's, and on Linux an epoll
    if backend is not None and hasattr(select, "epoll"):
        with select.epoll() as empty:
            os.dup2(empty.fileno(), backend(), inheritable=False)
    loop.call_soon(end_strayed)


os.register_at_fork(before=_before_fork, after_in_parent=_forked, after_in_child=_in_child)
