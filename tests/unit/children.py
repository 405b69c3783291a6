"""Children of tests: real ones with a real process to signal, or without any."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from queued.daemon.channel import Channel
from queued.daemon.master.child import Child, ChildState
from queued.daemon.scoreboard import Scoreboard
from queued.daemon.spec import MonitorSpec, WorkerSpec
from queued.drivers.states import Lane


def blueprint(pool: str = "emails", **settings) -> WorkerSpec:
    return WorkerSpec(owner="", pool=pool, index=0, generation=0, url="memory://", **settings)


def make_child(
    *,
    state: ChildState = ChildState.STARTING,
    index: int = 1,
    code: int = 1,
    lane: Lane = Lane.NORMAL,
    pid: int | None = None,
    made_from: WorkerSpec | MonitorSpec | None = None,
    now: float = 100.0,
    slots: int = 2,
) -> Child:
    ours, theirs = Channel.pair()
    child = Child(
        index=index,
        blueprint=made_from or blueprint(),
        code=code,
        owner=f"00000000-00000000-emails.{index}-1",
        channel=ours,
        board=None if isinstance(made_from, MonitorSpec) else Scoreboard.create(slots),
        now=now,
        lane=lane,
    )
    child.their_channel = theirs  # kept open, as a living process keeps it
    if pid is not None:
        child.born(pid, now)
    if state is not ChildState.STARTING:
        child.said_ready = True
        child.change(state, now)
    return child


@contextmanager
def process(*command: str, stdout: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command (one that sleeps, if not said) and leave nothing of it behind."""
    running = subprocess.Popen(command or ("sleep", "60"), stdout=stdout)
    try:
        yield running
    finally:
        running.kill()
        running.wait()
        if running.stdout is not None:
            running.stdout.close()
