"""What is said of the dead: to the log, and to the monitor, which settles what they held."""

from __future__ import annotations

import socket

import structlog

from queued.daemon.channel import Channel, Frame, encode
from queued.daemon.master.child import Child, ChildState
from queued.daemon.master.deaths import NEVER_BORN, Ending, Exit, Reason
from queued.daemon.master.resources import memory_limit
from queued.daemon.verdict import Verdict, judge
from queued.units import format_size

log = structlog.get_logger()

UNPLANNED = frozenset({Reason.CRASH, Reason.SIGNAL, Reason.OOM, Reason.HUNG, Reason.BOOT_ERROR})
INVOLVED = frozenset({Verdict.CRASHED, Verdict.SUSPECT, Verdict.TIMED_OUT})
"""The jobs of these want to know all of their worker's end, not just the words for it."""
MAX_OVERRAN = 20
"""Ids of overrunning jobs that are told: a worker may have a thousand."""


class Graves:
    """The dead whose jobs are not settled yet: told to the monitor again and again until they are.

    A new monitor is told of all of them, so nothing is lost with the old one.
    """

    def __init__(self) -> None:
        self._frames: dict[str, bytes] = {}

    def __len__(self) -> int:
        return len(self._frames)

    def add(self, frame: Frame) -> None:
        self._frames[frame["owner"]] = encode(frame)

    def settled(self, owner: str) -> None:
        self._frames.pop(owner, None)

    def tell(self, channel: Channel) -> None:
        for frame in self._frames.values():
            channel.send_raw(frame, droppable=True)


def grave_of(child: Child, exit_: Exit, ending: Ending, *, now: float, at: float) -> Frame:
    """Return what the monitor must know to settle what a dead worker held.

    :param now: monotonic seconds.
    :param at: seconds since the epoch.
    """
    overran = child.stop.overran if child.stop else frozenset()
    slots = child.board.read() if child.board is not None else []
    sentences = judge(slots, ending.cause, overran, now=now)
    dossier: Frame = {
        "worker": child.name,
        "host": socket.gethostname(),
        "pid": exit_.pid,
        "at": at,
        "reason": ending.reason,
        "signal": exit_.signal,
        "exit_code": exit_.code,
        "oom": ending.reason is Reason.OOM,
        "peak_memory": exit_.peak_memory,
        "lived": round(now - child.started, 3),
        "overran": sorted(overran)[:MAX_OVERRAN],
    }
    if child.board is not None and any(one.verdict in INVOLVED for one in sentences.values()):
        recorder = child.board.recorder
        dossier |= {
            "memory_limit": memory_limit(),
            "stack": recorder.stack(),
            "log": recorder.last_lines(),
        }
    return {
        "type": "gone",
        "owner": child.owner,
        "queue": child.pool,
        "sentences": {job_id: sentence.to_frame() for job_id, sentence in sentences.items()},
        "dossier": dossier,
    }


def announce(child: Child, exit_: Exit, ending: Ending, *, now: float, succeeded: bool) -> None:
    """Log a child's end, and what follows.

    :param succeeded: whether another one takes its seat.
    """
    fields: dict[str, object] = {"worker": child.name} if child.board is not None else {}
    fields |= {
        "pid": exit_.pid or None,
        "reason": str(ending.reason),
        "lived": f"{now - child.started:.1f} s",
    }
    if child.state is ChildState.FATAL:
        hint = f"given up; the others go on; `queued restart {child.pool}` tries again"
        fields |= {"how": exit_.text, "next": hint} | _particulars(child, exit_, ending)
        log.error("pool.fatal", pool=child.pool, **fields)
    elif ending.reason in UNPLANNED:
        following = "restart at once" if succeeded else "no restart"
        if child.solo:
            following = "another one as long as suspects wait"
        if child.state is ChildState.BACKOFF and child.deadline is not None:
            following = f"restart in {child.deadline - now:.1f} s"
        fields |= {"how": exit_.text, "next": following} | _particulars(child, exit_, ending)
        log.warning("worker.crashed" if child.board else "monitor.crashed", **fields)
    else:
        log.info("worker.exited" if child.board else "monitor.exited", **fields)


def _particulars(child: Child, exit_: Exit, ending: Ending) -> dict[str, object]:
    """Return what else is known of a crash: how much memory it had, where its threads were."""
    found: dict[str, object] = {"peak_memory": format_size(exit_.peak_memory)}
    if ending.reason is Reason.OOM and (limit := memory_limit()) is not None:
        found["memory_limit"] = format_size(limit)
    if child.stop is not None and child.stop.overran:
        found["overran"] = sorted(child.stop.overran)[:MAX_OVERRAN]
    if child.board is not None and (stack := child.board.recorder.stack()):
        found["stack"] = stack
    return found


def crash_of(child: Child, exit_: Exit, ending: Ending, *, at: float) -> Frame | None:
    """Return what ``queued status`` says of a worker's end; None: it was planned.

    :param at: seconds since the epoch.
    """
    if ending.reason not in UNPLANNED or exit_ is NEVER_BORN:
        return None
    return {
        "worker": child.name,
        "pid": exit_.pid or None,
        "at": round(at, 3),
        "reason": ending.reason,
        "how": exit_.text,
        "peak_memory": exit_.peak_memory,
    }
