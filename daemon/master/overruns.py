"""Kills what does not end by itself: workers with a job past its deadline, and workers that hang.

The worker enforces deadlines itself, by cancelling. What stands here is for the rest: a job that
holds the loop or the GIL, swallows the cancellation, or runs in a thread. The master sees it on the
scoreboard in two readings, gives the neighbours ``kill_grace``, then dumps the worker and kills it.
Should the job end meanwhile, nothing happens.

Who is charged: each job that had a grace of its own, and that the worker has told to end. While its
loop stands still it tells nobody: then a job that is late alone is charged, and of several one
stands for the others' delay, so all that ran are suspects, as after a crash.
"""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from queued.daemon.master.child import Child, ChildState, abort
from queued.daemon.scoreboard import Slot, SlotState
from queued.daemon.spec import WorkerSpec

log = structlog.get_logger()

CANCEL_GRACE = 1.0
"""Seconds after a deadline in which the worker's own cancellation takes effect."""
SILENCE = 60.0
"""Seconds without a heartbeat after which a worker hangs. One that runs a job is left alone: a job
may block its loop for as long as its timeout allows. What blocks it when all jobs have ended, such
as a callback that one left behind, has no deadline but this."""


def check(child: Child, now: float) -> None:
    """Look at one worker's scoreboard; called a few times a second."""
    if child.board is None or child.pid is None or not child.living:
        return
    slots = child.board.read()
    late = {_run(slot): slot for slot in slots if _is_late(slot, now)}
    before, child.late = child.late, {}
    for run, slot in late.items():
        since = before.get(run)
        if run in before and since is None:
            since = now
            _announce(child, slot, now)
        child.late[run] = since
    if late:
        _kill_in_time(child, late, now)
    elif any(since is not None for since in before.values()):
        log.info("worker.recovered", worker=child.name, pid=child.pid)
    elif child.state is ChildState.RUNNING and not any(map(_is_running, slots)):
        _check_heartbeat(child, now)


def _announce(child: Child, slot: Slot, now: float) -> None:
    assert isinstance(child.blueprint, WorkerSpec)
    log.warning(
        "job.overran",
        worker=child.name,
        pid=child.pid,
        job_id=slot.job_id,
        job=slot.job,
        ran=round(now - slot.started, 1),
        next=f"its worker is killed in {child.blueprint.kill_grace:g} s",
    )


def _kill_in_time(child: Child, late: dict[tuple[int, int], Slot], now: float) -> None:
    assert isinstance(child.blueprint, WorkerSpec)
    overran = [
        late[run]
        for run, since in child.late.items()
        if since is not None and now - since >= child.blueprint.kill_grace
    ]
    if overran:
        child.end(abort(_culprits(child, overran, late.values())), now)


def _culprits(child: Child, overran: list[Slot], late: Iterable[Slot]) -> frozenset[str]:
    """Return the ids of the jobs to be charged; none: it cannot be told which."""
    assert child.board
    told = [slot for slot in overran if _is_late(slot, child.board.heartbeat)]
    return frozenset(slot.job_id for slot in told or (overran if len(list(late)) == 1 else ()))


def _check_heartbeat(child: Child, now: float) -> None:
    assert child.board
    last = max(child.board.heartbeat, child.since)
    if now - last > SILENCE:
        log.warning("worker.hangs", worker=child.name, pid=child.pid, silent=round(now - last, 1))
        child.end(abort(), now)


def _is_running(slot: Slot) -> bool:
    return slot.state is SlotState.RUNNING


def _is_late(slot: Slot, now: float) -> bool:
    return _is_running(slot) and slot.deadline > 0 and now > slot.deadline + CANCEL_GRACE


def _run(slot: Slot) -> tuple[int, int]:
    return slot.number, slot.generation
