"""Forks, and what a fresh process does before it does anything else.

Two ways into life. ``fork`` makes a child of the calling process (the template, the monitor).
``fork_for`` is called in the template and makes a child of the *master*: it forks twice, and the
kernel hands the orphan to the nearest subreaper, which the master is.

A child leaves nothing to chance: default signals, a process group of its own, no descriptor that is
not its business, death with its parent, stacks on standard error when it dies of a signal.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import NoReturn

from queued.daemon.master import signals

INTERNAL_ERROR = 70
"""Exit code of a process that ended by an exception of ours (EX_SOFTWARE)."""
ADOPTION_TIMEOUT = 5.0
"""Seconds in which the kernel hands a twice-forked process to its new parent; it takes none."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_prctl = getattr(ctypes.CDLL(None), "prctl", None)  # looked up before any fork
if _prctl is not None:
    _prctl.argtypes = (ctypes.c_int, *(ctypes.c_ulong,) * 4)


def become_subreaper() -> bool:
    """Become the parent of every orphan below this process; False where there is no such thing."""
    return _prctl is not None and _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0


def fork(main: Callable[[], int], *, keep: Collection[int] = ()) -> int:
    """Run ``main`` in a child of this process; return its pid. The child exits with its result.

    :param keep: the descriptors that stay open in the child, beside 0, 1 and 2.
    """
    parent = os.getpid()
    with signals.blocked():
        pid = os.fork()
        if pid == 0:
            _live(lambda: _start(parent, lambda: _close_all_but(keep)), main)
    return pid


def fork_for(parent: int, main: Callable[[], int], *, close: Collection[int] = ()) -> int:
    """Run ``main`` in a new child of ``parent``, a subreaper above this process; return its pid.

    :param close: the descriptors that are this process's business only. Others stay open: they may
        belong to modules of the user's that the child needs.
    :raises ChildProcessError: it ended before its pid was known: imported code acts on a fork.
    :raises OSError: there is no process to be had.
    """
    read, write = os.pipe2(os.O_CLOEXEC)
    try:
        with signals.blocked():
            middle = os.fork()
            if middle == 0:
                _be_the_middle(parent, main, write, (*close, read, write))
        os.close(write)
        write = -1
        answer = os.read(read, 32)
        with suppress(ChildProcessError):  # a handler of the user's code was faster
            os.waitpid(middle, 0)
    finally:
        os.close(read)
        if write >= 0:
            os.close(write)
    if not answer:
        raise ChildProcessError(
            "the new process ended at once: what does imported code do at a fork?"
        )
    pid = int(answer)
    if pid <= 0:
        raise OSError(-pid, os.strerror(-pid))
    return pid


def _be_the_middle(
    parent: int, main: Callable[[], int], write: int, close: Collection[int]
) -> NoReturn:
    """Fork once more, tell the pid (or the negative errno), and be gone."""
    try:
        pid = os.fork()
        if pid == 0:
            _live(lambda: _start_adopted(parent, close), main)
        os.write(write, str(pid).encode())
    except OSError as error:
        os.write(write, str(-(error.errno or 1)).encode())
    finally:
        os._exit(0)


def _start_adopted(parent: int, close: Collection[int]) -> None:
    deadline = time.monotonic() + ADOPTION_TIMEOUT
    while os.getppid() != parent and time.monotonic() < deadline:
        time.sleep(0.0002)
    _start(parent, lambda: _close_each(close))


def _start(parent: int, close: Callable[[], None]) -> None:
    """Become a process of its own. Its signals are still blocked when it comes here."""
    with suppress(OSError):
        os.setpgid(0, 0)
    close()
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)  # a job that reads a terminal from the background would be stopped for it
    os.close(null)
    faulthandler.enable(2, all_threads=True)
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the kernel knew of our wish
        os._exit(0)
    signals.restore_defaults()


def _live(start: Callable[[], None], main: Callable[[], int]) -> NoReturn:
    """Run a child to its end. Nothing gets back to the caller's frames, which are the parent's."""
    code = INTERNAL_ERROR
    try:
        start()
        code = main()
    except SystemExit as leave:
        code = leave.code if isinstance(leave.code, int) else int(leave.code is not None)
    except BaseException:  # noqa: BLE001  whatever it is, it ends here
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        os._exit(code)


def _close_all_but(keep: Collection[int]) -> None:
    low = 3
    for fd in sorted(keep):
        os.closerange(low, fd)
        low = max(low, fd + 1)
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))


def _close_each(fds: Collection[int]) -> None:
    for fd in fds:
        with suppress(OSError):
            os.close(fd)
