"""A child process as a state machine: one incarnation, from the request to its end.

    STARTING → RUNNING → STOPPING → STOPPED     asked to go
                                  → EXITED      went by itself as planned, or was killed for a job
             → EXITED                           died; the successor starts at once
             → BACKOFF → EXITED                 died; the successor waits
             → FATAL → STOPPED                  died once too often; somebody has to look at it

The names are supervisord's. ``TRANSITIONS`` is the whole truth and ``Child.change`` the one place
where a state changes. Nothing waits: STARTING, STOPPING and BACKOFF have deadlines that the loop of
the master looks at (``tick``). STOPPING goes through the steps of a ``Stop``, each harder.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from enum import IntEnum, StrEnum
from typing import NamedTuple

import structlog

from queued.daemon.channel import Channel
from queued.daemon.scoreboard import Scoreboard
from queued.daemon.spec import MonitorSpec, WorkerSpec, worker_name
from queued.drivers.states import Lane

log = structlog.get_logger()

START_TIMEOUT = 30.0
"""Seconds from its birth to ``ready``; workers that wait for the back-end are ready."""
EOF_GRACE = 1.0
"""Seconds between the end of a child's channel and its kill: usually it is just about to exit."""
MONITOR_GRACE = 5.0
"""Seconds in which the monitor settles what dead workers held, and closes its connections."""
KILL_MARGIN = 5.0
"""Seconds beyond the grace in which a child hands its jobs back by itself, before it is killed."""
DUMP_TIME = 1.0
"""Seconds between SIGABRT, at which faulthandler writes all stacks, and SIGKILL."""


class ChildState(StrEnum):
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    EXITED = "exited"
    BACKOFF = "backoff"
    FATAL = "fatal"


S = ChildState

TRANSITIONS: dict[ChildState, frozenset[ChildState]] = {
    S.STARTING: frozenset({S.RUNNING, S.STOPPING, S.EXITED, S.BACKOFF, S.FATAL}),
    S.RUNNING: frozenset({S.STOPPING, S.EXITED, S.BACKOFF, S.FATAL}),
    S.STOPPING: frozenset({S.STOPPED, S.EXITED, S.BACKOFF, S.FATAL}),
    S.BACKOFF: frozenset({S.EXITED, S.STOPPED}),
    S.FATAL: frozenset({S.STOPPED}),
    S.STOPPED: frozenset(),
    S.EXITED: frozenset(),
}

ACTIVE = frozenset({S.STARTING, S.RUNNING})
LIVING = ACTIVE | {S.STOPPING}


class Force(IntEnum):
    """How hard a child is stopped; a harder stop replaces a softer one, never the reverse."""

    LEAVING = 1
    """It said that it goes, by itself."""
    DRAIN = 2
    """It finishes what it runs, within the grace."""
    HAND_BACK = 3
    """It hands back what it runs, now."""
    ABORT = 4
    """It is dumped and killed: it hangs, or a job is past its deadline and cannot be cancelled."""
    KILL = 5


class Step(NamedTuple):
    """Send ``number`` (None: nothing), then give it ``seconds`` (None: for ever)."""

    number: signal.Signals | None
    seconds: float | None


class Stop(NamedTuple):
    """Why and how a child is stopped."""

    force: Force
    steps: Sequence[Step]
    overran: frozenset[str] = frozenset()
    """Ids of the jobs past their deadline, when it is killed for them."""


_KILL = Step(signal.SIGKILL, None)


def leaving(grace: float) -> Stop:
    return Stop(Force.LEAVING, (Step(None, grace + KILL_MARGIN), _KILL))


def drain(grace: float) -> Stop:
    return Stop(Force.DRAIN, (Step(signal.SIGTERM, grace + KILL_MARGIN), _KILL))


def hand_back() -> Stop:
    return Stop(Force.HAND_BACK, (Step(signal.SIGQUIT, KILL_MARGIN), _KILL))


def abort(overran: frozenset[str] = frozenset()) -> Stop:
    return Stop(Force.ABORT, (Step(signal.SIGABRT, DUMP_TIME), _KILL), overran)


def kill() -> Stop:
    return Stop(Force.KILL, (_KILL,))


class Child:
    """One incarnation of a worker or of the monitor, as its master sees it."""

    def __init__(
        self,
        *,
        index: int,
        blueprint: WorkerSpec | MonitorSpec,
        code: int,
        owner: str,
        channel: Channel,
        board: Scoreboard | None,
        now: float,
        lane: Lane = Lane.NORMAL,
    ) -> None:
        self.index = index
        self.blueprint = blueprint
        """The settings that it was made from: when its pool's differ, it is replaced."""
        self.code = code
        """Which generation of the user's code it runs."""
        self.owner = owner
        """The name of this incarnation; also that of its snapshots."""
        self.lane = lane
        self.channel = channel
        self.board = board
        self.pid: int | None = None
        """None until the template has said it."""
        self.state = S.STARTING
        self.since = now
        """When it entered its state, monotonic seconds."""
        self.started = now
        self.deadline: float | None = None
        """When ``tick`` does what follows of the state."""
        self.stop: Stop | None = None
        self.said_ready = False
        """It has said that it is up; it runs when its pid is known, too."""
        self.leaving = ""
        """Why it goes, when it has said so."""
        self.snapshot = b""
        """The last frame of its metrics, as it came."""
        self.heard = now
        """When its last frame came."""
        self.rss = 0
        """Resident memory in bytes, as last looked at."""
        self.late: dict[tuple[int, int], float | None] = {}
        """The runs past their deadline at the last reading, by (slot, generation), and since when
        that is certain; None: it was the first reading."""
        self.killed = False
        """SIGKILL has been sent to it."""
        self._step = 0
        self._eof_since: float | None = None

    @property
    def pool(self) -> str:
        return self.blueprint.pool if isinstance(self.blueprint, WorkerSpec) else "monitor"

    @property
    def name(self) -> str:
        """What people read: ``emails/2``, ``emails/solo``, ``monitor``."""
        if isinstance(self.blueprint, MonitorSpec):
            return "monitor"
        return worker_name(self.pool, self.index, self.lane)

    @property
    def grace(self) -> float:
        """Seconds that it gets to finish what it runs."""
        return getattr(self.blueprint, "shutdown_grace", MONITOR_GRACE)

    @property
    def solo(self) -> bool:
        return self.lane is Lane.SOLO

    @property
    def active(self) -> bool:
        """Starting or running: it counts as one of its pool."""
        return self.state in ACTIVE

    @property
    def living(self) -> bool:
        """There is (or will be, once forked) a process."""
        return self.state in LIVING

    @property
    def began(self) -> int:
        return self.board.began if self.board else 0

    @property
    def settled(self) -> int:
        return self.board.settled if self.board else 0

    def change(self, to: ChildState, now: float, *, deadline: float | None = None) -> None:
        """Enter a state.

        :raises RuntimeError: there is no such transition.
        """
        if to not in TRANSITIONS[self.state]:
            raise RuntimeError(f"{self.name}: no transition {self.state} → {to}")
        log.debug("child.state", child=self.name, pid=self.pid, was=self.state, now=to)
        self.state = to
        self.since = now
        self.deadline = deadline

    def born(self, pid: int, now: float) -> None:
        """Learn the pid; what was to be sent meanwhile is sent now."""
        self.pid = pid
        if self.state is S.STOPPING:
            self._take_step(0, now)
        elif self.state is S.STARTING:
            self.deadline = now + START_TIMEOUT

    def end(self, stop: Stop, now: float) -> None:
        """Begin to stop it, or stop it harder; a softer stop than the one under way is ignored."""
        if not self.living or (self.stop is not None and stop.force <= self.stop.force):
            return
        self.stop = stop
        if self.state is not S.STOPPING:
            self.change(S.STOPPING, now)
        self._take_step(0, now)

    def tick(self, now: float) -> None:
        """Do what is due: the next step of a stop, the kill of one that never got ready."""
        if self.living and self._lost_its_channel(now):
            self.end(abort(), now)
        if self.deadline is None or now < self.deadline:
            return
        if self.state is S.STOPPING:
            self._take_step(self._step + 1, now)
        elif self.state is S.STARTING:
            log.warning("child.start_timed_out", child=self.name, pid=self.pid)
            self.end(abort(), now)

    def _take_step(self, step: int, now: float) -> None:
        assert self.stop
        number, seconds = self.stop.steps[step]
        self._step = step
        self.deadline = None if seconds is None else now + seconds
        if number is not None:
            self._signal(number)

    def _signal(self, number: signal.Signals) -> None:
        if self.pid is None:
            return
        self.killed |= number == signal.SIGKILL
        # It is not reaped yet (this is called for living states only), so the pid is still its own.
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def _lost_its_channel(self, now: float) -> bool:
        """Tell whether it lives on without a channel: a job closed every descriptor."""
        if not self.channel.closed or self.pid is None:
            return False
        if self._eof_since is None:
            self._eof_since = now
        return now - self._eof_since > EOF_GRACE

    def close(self) -> None:
        """Let go of what was shared with it."""
        self.channel.close()
        if self.board is not None:
            self.board.close()
