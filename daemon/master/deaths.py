"""How a child ended, why, and what that means for its jobs and its successor.

as planned, or as asked              drained, max_jobs, max_time, max_memory, owner_lost, empty
killed by us                         hung: past a deadline that it should have kept by itself
died                                 crash, signal, oom; boot_error before it was ready
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from queued.daemon.master.child import Child, Force
from queued.daemon.verdict import Cause


class Reason(StrEnum):
    """The label of ``worker_exits_total``."""

    MAX_JOBS = "max_jobs"
    MAX_TIME = "max_time"
    MAX_MEMORY = "max_memory"
    DRAINED = "drained"
    """Asked to go: stop, reload, restart, scale."""
    OWNER_LOST = "owner_lost"
    """Its lease had run out, so its jobs were given to others."""
    EMPTY = "empty"
    """A solo worker without suspects."""
    CRASH = "crash"
    """It exited by itself, whatever the code: a worker says so before it goes as planned."""
    SIGNAL = "signal"
    OOM = "oom"
    """The kernel killed it for memory."""
    HUNG = "hung"
    BOOT_ERROR = "boot_error"


REPEATABLE = frozenset({Reason.MAX_MEMORY, Reason.OWNER_LOST})
"""Planned, yet held against a seat that makes no progress: a limit below what an idle worker needs
would have it replaced in an endless loop."""


class Exit(NamedTuple):
    """A reaped process."""

    pid: int
    status: int
    peak_memory: int
    """Bytes that were resident at most."""
    said: str = ""
    """How it ended, where that was told and not seen."""

    @property
    def signal(self) -> int | None:
        return os.WTERMSIG(self.status) if os.WIFSIGNALED(self.status) else None

    @property
    def code(self) -> int | None:
        return os.WEXITSTATUS(self.status) if os.WIFEXITED(self.status) else None

    @property
    def text(self) -> str:
        """What people read: ``SIGSEGV``, ``exit code 3``."""
        if self.said:
            return self.said
        if self.signal is None:
            return f"exit code {self.code}"
        try:
            return signal.Signals(self.signal).name
        except ValueError:
            return f"signal {self.signal}"


@dataclass(frozen=True, slots=True)
class Ending:
    """What an exit means."""

    reason: Reason
    cause: Cause
    """How the jobs that it held are judged."""
    counts: bool
    """Whether it is held against its seat (see ``RestartPolicy``)."""


def classify(child: Child, exit_: Exit, *, oom: bool = False) -> Ending:
    """Tell why a child ended.

    :param oom: whether the kernel has killed for memory in our group since the last death.
    """
    stop = child.stop
    if exit_ is NEVER_BORN:  # not for anything in it: its template died, or could not fork
        return Ending(Reason.BOOT_ERROR, Cause.RELEASED, counts=False)
    if exit_.code == 0 and child.leaving:  # even if it was about to be killed
        reason = Reason(child.leaving) if child.leaving in set(Reason) else Reason.DRAINED
        return Ending(reason, Cause.RELEASED, counts=reason in REPEATABLE)
    if stop is not None and stop.force is Force.ABORT:
        return _killed(child)
    if stop is not None and stop.force is not Force.LEAVING and _as_asked(child, exit_):
        return Ending(Reason.DRAINED, Cause.RELEASED, counts=False)
    if stop is not None and exit_.signal == signal.SIGKILL and child.killed:
        return Ending(Reason.HUNG, Cause.RELEASED, counts=False)  # the grace ran out
    return Ending(_accident(child, exit_, oom=oom), Cause.CRASH, counts=stop is None)


def _killed(child: Child) -> Ending:
    assert child.stop
    if child.stop.overran:
        return Ending(Reason.HUNG, Cause.KILLED_FOR_DEADLINE, counts=False)
    reason = Reason.HUNG if child.said_ready else Reason.BOOT_ERROR
    return Ending(reason, Cause.CRASH, counts=True)


def _as_asked(child: Child, exit_: Exit) -> bool:
    """Tell whether a child that was asked to go went for that."""
    assert child.stop
    if child.stop.force is Force.KILL:
        return True
    if exit_.code == 0:  # without a word: a job that calls os._exit(0) looks the same
        return child.board is None or child.board.busy == 0
    return exit_.signal in {signal.SIGTERM, signal.SIGQUIT}  # it had no handlers yet


def _accident(child: Child, exit_: Exit, *, oom: bool) -> Reason:
    if exit_.signal is not None:
        return Reason.OOM if oom and exit_.signal == signal.SIGKILL else Reason.SIGNAL
    return Reason.CRASH if child.said_ready else Reason.BOOT_ERROR


def reap(ours: frozenset[int] | set[int]) -> Iterator[Exit]:
    """Yield every process that has ended, without waiting.

    The processes that one of ``ours`` has started itself are killed with it: they are in its group,
    whose number cannot be reused before it is reaped.
    """
    while (pid := _ended()) is not None:
        if pid in ours:
            kill_group(pid)
        _, status, usage = os.wait4(pid, 0)
        yield Exit(pid, status, usage.ru_maxrss * 1024)


def _ended() -> int | None:
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if found is None else found.si_pid


def kill_group(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # nobody but it (macOS says the latter)
        os.killpg(pid, signal.SIGKILL)


NEVER_BORN = Exit(0, 1 << 8, 0)
"""Stands in for the exit of a worker that was asked for and never seen."""


def died_at_fork(how: str) -> Exit:
    """Return the exit of a worker that imported code ended before anybody saw it.

    Unlike ``NEVER_BORN`` it counts: the next one does the same.
    """
    return Exit(0, 1 << 8, 0, how)
