"""What is said of the dead: to the log, and to the monitor, which settles what they held."""

from __future__ import annotations

import socket

import structlog

from queued.daemon.channel import Channel, Frame
from queued.daemon.master.child import Child, ChildState
from queued.daemon.master.deaths import Ending, Exit, Reason
from queued.daemon.verdict import judge

log = structlog.get_logger()

UNPLANNED = frozenset({Reason.CRASH, Reason.SIGNAL, Reason.OOM, Reason.HUNG, Reason.BOOT_ERROR})


class Graves:
    """The dead whose jobs are not settled yet: told to the monitor again and again until they are.

    A new monitor is told of all of them, so nothing is lost with the old one.
    """

    def __init__(self) -> None:
        self._frames: dict[str, Frame] = {}

    def __len__(self) -> int:
        return len(self._frames)

    def add(self, frame: Frame) -> None:
        self._frames[frame["owner"]] = frame

    def settled(self, owner: str) -> None:
        self._frames.pop(owner, None)

    def tell(self, channel: Channel) -> None:
        for frame in self._frames.values():
            channel.send(frame, droppable=True)


def grave_of(child: Child, exit_: Exit, ending: Ending, *, now: float, at: float) -> Frame:
    """Return what the monitor must know to settle what a dead worker held.

    :param now: monotonic seconds.
    :param at: seconds since the epoch.
    """
    overran = child.stop.overran if child.stop else frozenset()
    slots = child.board.read() if child.board is not None else []
    sentences = judge(slots, ending.cause, overran, now=now)
    return {
        "type": "gone",
        "owner": child.owner,
        "queue": child.pool,
        "sentences": {job_id: sentence.to_frame() for job_id, sentence in sentences.items()},
        "dossier": {
            "worker": child.name,
            "host": socket.gethostname(),
            "pid": exit_.pid,
            "at": at,
            "reason": ending.reason,
            "signal": exit_.signal,
            "exit_code": exit_.code,
            "max_rss": exit_.max_rss,
            "lived": round(now - child.started, 3),
        },
    }


def announce(child: Child, exit_: Exit, ending: Ending, *, now: float, succeeded: bool) -> None:
    """Log a child's end, and what follows.

    :param succeeded: whether another one takes its seat.
    """
    fields: dict[str, object] = {"worker": child.name} if child.board is not None else {}
    fields |= {
        "pid": exit_.pid,
        "reason": str(ending.reason),
        "lived": f"{now - child.started:.1f} s",
    }
    kind = "worker" if child.board is not None else "monitor"
    if child.state is ChildState.FATAL:
        hint = f"given up; the others go on; `queued restart {child.pool}` tries again"
        log.error("pool.fatal", pool=child.pool, **fields, how=exit_.text, next=hint)
    elif ending.reason in UNPLANNED:
        event = f"{kind}.crashed"
        following = "restart at once" if succeeded else "no restart"
        if child.solo:
            following = "another one as long as suspects wait"
        if child.state is ChildState.BACKOFF and child.deadline is not None:
            following = f"restart in {child.deadline - now:.1f} s"
        log.warning(event, **fields, how=exit_.text, next=following)
    else:
        event = f"{kind}.exited"
        log.info(event, **fields)
