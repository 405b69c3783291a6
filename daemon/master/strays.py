"""The last thing that a master does: no process of its own, nor of its jobs, outlives it.

What a job has started and left behind became the master's child when the job's worker ended, since
the master is a subreaper.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

PATIENCE = 2.0
"""Seconds; what has been killed is gone in milliseconds, unless the kernel holds it."""


def end() -> None:
    """Kill and reap every child that is left. This is the one place that waits."""
    deadline = time.monotonic() + PATIENCE
    while _reap() and time.monotonic() < deadline:
        for pid in _children():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def _reap() -> bool:
    """Reap who has ended; return whether there are others."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _children() -> list[int]:
    """Return the pids of our children, where the system tells."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            fields = entry.read_text().rpartition(")")[2].split()
            if int(fields[1]) == os.getpid():
                found.append(int(entry.parent.name))
    return found
