"""Child processes in groups of their own, and what a tree of them costs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

END_WITHIN = 5.0
"""Seconds that a worker gets to end by itself; it is idle then."""


@contextlib.contextmanager
def group(
    command: Sequence[str | Path], folder: Path, environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command with all its children, and leave none of them behind however this ends."""
    with log.open("ab") as output:
        leader = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        yield leader
    finally:
        end(leader)


def end(leader: subprocess.Popen[bytes]) -> None:
    """SIGTERM, then SIGKILL to what is left of the tree and the group."""
    tree = descendants(leader.pid)
    leader.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        leader.wait(END_WITHIN)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGKILL)
    for pid in tree:  # those that left the group; a number is not used again within seconds
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    leader.wait()


def descendants(pid: int) -> list[int]:
    """Return the living children of a process, and theirs."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                children[int(parent)].append(int(entry.name))
    found: list[int] = []
    ahead = [pid]
    while ahead:
        below = children[ahead.pop()]
        found += below
        ahead += below
    return found


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident, proportional and unique set size, in MB of a million bytes."""

    rss: float
    pss: float
    uss: float


def memory(pids: Sequence[int]) -> Memory:
    """Add up the memory of processes."""
    total: defaultdict[str, int] = defaultdict(int)
    for pid in pids:
        with contextlib.suppress(OSError):  # it has ended meanwhile
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
                name, _, rest = line.partition(":")
                total[name] += int(rest.split()[0]) * 1024
    unique = total["Private_Clean"] + total["Private_Dirty"]
    return Memory(total["Rss"] / 1e6, total["Pss"] / 1e6, unique / 1e6)


def processor_seconds(pids: Sequence[int]) -> float:
    """Return the seconds of processor time that processes have used, to 10 ms each."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
