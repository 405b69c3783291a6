"""What the system gives and takes: memory, kills for it, descriptors."""

from __future__ import annotations

import os
import resource
from collections import deque
from contextlib import suppress
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OOM_MEMORY = 5.0
"""Seconds in which a kill for memory is put down to a death."""
UNLIMITED = 1 << 60
"""Bytes: what version 1 of control groups writes where there is no limit is near 2**63."""

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
    """The kernel's kills for memory in our control group, where it lets us read their number.

    Each accounts for one death, and for a while only: it may have hit what a job had started.
    """

    def __init__(self) -> None:
        self._file = _control_file("memory.events", "memory.oom_control")
        self._seen = self._read() or 0
        self._unexplained: deque[float] = deque()
        """When those were seen that no death is put down to yet."""

    def look(self, now: float) -> None:
        """Take note of what has happened since the last look; ``now`` is monotonic seconds."""
        count = self._read()
        if count is not None:
            self._unexplained.extend([now] * (count - self._seen))
            self._seen = count
        while self._unexplained and now - self._unexplained[0] > OOM_MEMORY:
            self._unexplained.popleft()

    def explains(self, now: float) -> bool:
        """Tell whether a process that was found dead just now may be one of them, and count it."""
        self.look(now)
        if not self._unexplained:
            return False
        self._unexplained.popleft()
        return True

    def _read(self) -> int | None:
        if self._file is None:
            return None
        with suppress(OSError, ValueError):
            for line in self._file.read_text().splitlines():
                name, _, value = line.partition(" ")
                if name == "oom_kill":
                    return int(value)
        return None


def memory_limit() -> int | None:
    """Return how many bytes our control group may use; None: no limit, or it cannot be read."""
    file = _control_file("memory.max", "memory.limit_in_bytes")
    if file is not None:
        with suppress(OSError, ValueError):  # v2 says "max" where there is none
            limit = int(file.read_text())
            return limit if limit < UNLIMITED else None
    return None


def _control_file(name: str, old_name: str) -> Path | None:
    """Return a file of our control group's memory controller: of version 2, or of version 1.

    Within a container the path that the kernel tells may be the one outside, and the group is
    mounted as the root.
    """
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                root, file = CGROUPS, name
            elif "memory" in controllers.split(","):
                root, file = CGROUPS / "memory", old_name
            else:
                continue
            for folder in (root / path.lstrip("/"), root):
                if (folder / file).exists():
                    return folder / file
    return None
