"""Where a job is that does not end: the frames of its code, as faulthandler would write them.

A coroutine that waits is on the stack of no thread, and of many threads it is not said which one
runs which job; only the worker knows both.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import dropwhile
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType
from typing import Any

from queued.daemon.worker.run import Run
from queued.jobs.frames import is_ours

MAX_JOBS = 20
"""Jobs that are told of; it is asked 20 times a second while they overrun."""
MAX_FRAMES = 50
"""Frames of one job, the innermost ones."""


def whereabouts(runs: Sequence[Run]) -> str:
    """Return a block for each run: ``Job <id> (most recent call first):`` and its frames."""
    return "\n\n".join(map(_block, runs[:MAX_JOBS]))


def _block(run: Run) -> str:
    frames = _thread(run.thread) if run.in_thread else _awaits(run)
    theirs = list(dropwhile(lambda one: is_ours(one[0]), frames))
    lines = [
        f'  File "{frame.f_code.co_filename}", line {line} in {frame.f_code.co_name}'
        for frame, line in theirs[: -MAX_FRAMES - 1 : -1]
    ]
    head = f"Job {run.reservation.id} (most recent call first):"
    return "\n".join([head, *(lines or ["  <no Python frame>"])])


def _thread(ident: int) -> list[tuple[FrameType, int]]:
    """Return the frames of a thread that runs a job, outermost first, from ours on."""
    found: list[tuple[FrameType, int]] = []
    frame = sys._current_frames().get(ident)  # noqa: SLF001 - there is no other way to ask
    while frame is not None:
        found.append((frame, frame.f_lineno or 0))
        frame = frame.f_back
    return list(dropwhile(lambda one: not is_ours(one[0]), reversed(found)))


def _awaits(run: Run) -> Iterator[tuple[FrameType, int]]:
    """Yield the frames of a task that waits: each coroutine's, then that of what it awaits.

    Of an awaitable of the user's own nothing is asked: its code would run here, in our timer.
    """
    waiting: Any = run.task.get_coro() if run.task is not None else None
    while (names := _NAMES.get(type(waiting))) is not None:
        frame, waiting = (getattr(waiting, name) for name in names)
        if frame is None:
            return
        yield frame, frame.f_lineno or 0


_NAMES: dict[type, tuple[str, str]] = {
    CoroutineType: ("cr_frame", "cr_await"),
    GeneratorType: ("gi_frame", "gi_yieldfrom"),
    AsyncGeneratorType: ("ag_frame", "ag_await"),
}
