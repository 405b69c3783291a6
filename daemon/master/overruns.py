"""Kills what does not end by itself: workers with a job past its deadline, and workers that hang.

The worker enforces deadlines itself, by cancelling. What stands here is for the rest: a job that
holds the loop or the GIL, swallows the cancellation, or runs in a thread. The master sees it on the
scoreboard in two readings, gives the neighbours ``kill_grace``, then dumps the worker and kills it.
Should the job end meanwhile, nothing happens.
"""

from __future__ import annotations

import structlog

from queued.daemon.master.child import Child, ChildState, abort
from queued.daemon.scoreboard import Slot, SlotState
from queued.daemon.spec import WorkerSpec

log = structlog.get_logger()

CANCEL_GRACE = 1.0
"""Seconds after a deadline in which the worker's own cancellation takes effect."""
SILENCE = 60.0
"""Seconds without a heartbeat after which an idle worker hangs. A busy one is left alone: a job may
block its loop for as long as its timeout allows."""


def check(child: Child, now: float) -> None:
    """Look at one worker's scoreboard; called a few times a second."""
    if child.board is None or child.pid is None or not child.living:
        return
    late = {_run(slot): slot for slot in child.board.read() if _is_late(slot, now)}
    seen_twice = [slot for run, slot in late.items() if run in child.late]
    child.late = frozenset(late)
    if seen_twice:
        _wait_for(child, seen_twice, now)
    elif child.late_since is not None and not late:
        child.late_since = None
        log.info("worker.recovered", worker=child.name, pid=child.pid)
    elif not late and child.state is ChildState.RUNNING:
        _check_heartbeat(child, now)


def _wait_for(child: Child, overran: list[Slot], now: float) -> None:
    assert isinstance(child.blueprint, WorkerSpec)
    if child.late_since is None:
        child.late_since = now
        for slot in overran:
            log.warning(
                "job.overran",
                worker=child.name,
                pid=child.pid,
                job_id=slot.job_id,
                job=slot.job,
                ran=round(now - slot.started, 1),
                next=f"its worker is killed in {child.blueprint.kill_grace:g} s",
            )
    elif now - child.late_since >= child.blueprint.kill_grace:
        child.end(abort(frozenset(slot.job_id for slot in overran)), now)


def _check_heartbeat(child: Child, now: float) -> None:
    assert child.board
    last = max(child.board.heartbeat, child.since)
    if now - last > SILENCE and child.board.busy == 0:
        log.warning("worker.hangs", worker=child.name, pid=child.pid, silent=round(now - last, 1))
        child.end(abort(), now)


def _is_late(slot: Slot, now: float) -> bool:
    return (
        slot.state is SlotState.RUNNING and slot.deadline > 0 and now > slot.deadline + CANCEL_GRACE
    )


def _run(slot: Slot) -> tuple[int, int]:
    return slot.number, slot.generation
