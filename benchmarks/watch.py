"""The clock of a drain: reads what the handlers tick, from outside of every hot path."""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers.ticks import COUNT, FIRST, LAST, NUMBER, SAMPLES, mapped

EVERY = 0.005
"""Seconds between two looks: 10 µs of work each."""


class Stalled(RuntimeError):
    """Workers did nothing for too long."""


@dataclass(frozen=True, slots=True)
class Sample:
    at: float
    done: int
    processes: int


@dataclass(slots=True)
class Ticks:
    """What the worker processes of a run have ticked so far."""

    folder: Path
    _views: dict[str, memoryview[float]] = field(default_factory=dict)

    def sample(self) -> Sample:
        for path in self.folder.iterdir():
            if path.name.isdigit() and path.name not in self._views:
                self._views[path.name] = mapped(path, mmap.ACCESS_READ)
        done = [int(view[COUNT]) for view in self._views.values()]
        return Sample(time.monotonic(), sum(done), sum(one > 0 for one in done))

    @property
    def first(self) -> float:
        return min(view[FIRST] for view in self._views.values())

    @property
    def last(self) -> float:
        return max(view[LAST] for view in self._views.values())

    def delays(self) -> list[float]:
        """Return the delays of all ``stamp`` jobs, in seconds, in no order."""
        return [
            delay
            for view in self._views.values()
            for delay in view[SAMPLES : SAMPLES + int(view[NUMBER])]
        ]


def until_done(
    ticks: Ticks, total: int, alive: Callable[[], bool], patience: float = 60.0, cap: float = 1e9
) -> list[Sample]:
    """Look until ``total`` jobs are done, or ``cap`` seconds after the first were.

    :raises Stalled: the worker ended, or nothing happened for ``patience`` seconds.
    """
    samples = [ticks.sample()]
    moved = time.monotonic()
    began: float | None = None
    while samples[-1].done < total:
        time.sleep(EVERY)
        samples.append(ticks.sample())
        if samples[-1].done != samples[-2].done:
            moved = samples[-1].at
            began = began or moved
        if began is not None and moved - began > cap:
            break
        if not alive():
            raise Stalled("the worker ended")
        if samples[-1].at - moved > patience:
            raise Stalled(f"{samples[-1].done} of {total} jobs, then none for {patience:.0f} s")
    return samples


def rate(samples: Sequence[Sample], first: float, last: float, total: int, processes: int) -> float:
    """Return jobs a second, from the first job's start to the last job's end.

    Processes start one after another. The clock of several starts when each of them has done a
    job (unless half of the work is over then). A drain that was cut short ends with its last look.
    """
    began, done = first, 0
    for sample in samples:
        if sample.processes >= processes:
            if processes > 1 and sample.done < total / 2:
                began, done = sample.at, sample.done
            break
    end = samples[-1]
    if end.done >= total:
        return (total - done) / (last - began)
    return (end.done - done) / (end.at - began)
