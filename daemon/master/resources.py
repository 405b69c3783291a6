"""What the system gives and takes: memory, kills for it, descriptors."""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident(pid: int) -> int:
    """Return the resident memory of a process in bytes; 0 where it cannot be read."""
    try:
        with open(f"/proc/{pid}/statm", "rb", buffering=0) as file:  # noqa: PTH123  40 a second
            return int(file.read(64).split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0


def allow_descriptors(count: int) -> None:
    """Raise the soft limit of open descriptors, if fewer than ``count`` are allowed and it can be.

    Only then: a hardened service may be forbidden the very call.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= count:
        return
    if hard != resource.RLIM_INFINITY:
        count = min(count, hard)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def open_standard_descriptors() -> None:
    """See to it that 0, 1 and 2 are open, or the next files would become what is logged to."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004
        os.set_inheritable(fd, True)
    os.close(fd)


class OomKills:
    """Counts the kernel's kills for memory in our control group, where it lets us read them."""

    def __init__(self) -> None:
        self._file = _counter_file()
        self._seen = self._read()

    def happened(self) -> bool:
        """Tell whether there were any since this was last asked."""
        now = self._read()
        before, self._seen = self._seen, now
        return now > before

    def _read(self) -> int:
        if self._file is None:
            return 0
        with suppress(OSError, ValueError):
            for line in self._file.read_text().splitlines():
                name, _, value = line.partition(" ")
                if name == "oom_kill":
                    return int(value)
        return 0


def _counter_file() -> Path | None:
    root = Path("/sys/fs/cgroup")
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                file = root / path.lstrip("/") / "memory.events"
            elif "memory" in controllers.split(","):
                file = root / "memory" / path.lstrip("/") / "memory.oom_control"
            else:
                continue
            if file.exists():
                return file
    return None
