"""What each queue did in the last minutes, out of counts that only rise.

The counts of the whole fleet are noted every few seconds, summed up by queue, and two notes tell
what came between them. Bounded: a ring of notes over the longest window, and an idle queue's share
of a note is that of the note before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from operator import add
from typing import Any, Protocol

from queued.daemon.metrics import BUCKETS
from queued.jobs.outcome import Outcome

WINDOWS = {"1m": 60.0, "5m": 300.0}
"""What is told of each queue: the name of a window, and its length in seconds."""
NO_FAILURE = frozenset({Outcome.SUCCEEDED.value, Outcome.RELEASED.value})
"""As the alert on the failure ratio has it: what was handed back says nothing about the job."""

CRASHES = frozenset({"crash", "signal", "oom", "boot_error", "hung"})
"""Reasons of exits that nobody planned."""

WAIT, RUN = "job_wait_seconds", "job_run_seconds"
_QUANTILE = 0.95


class Counted(Protocol):
    """Where the counts come from: the fleet."""

    def series(self, kind: str, name: str) -> Iterable[list[Any]]:
        """Yield [labels, value, ...] from each that counted, to be added."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What one queue did in one window."""

    seconds: float
    """What the window really covers: less than asked for while the monitor is young."""
    attempts: int
    """Runs that ended, however."""
    outcomes: dict[str, int]
    """The same by outcome, as ``queued_attempts_total`` has them; those that there were none of
    are left out."""
    failures: int
    """Runs that neither succeeded nor were handed back: retried, failed, timed out, lost."""
    failure_ratio: float | None
    """``failures`` of ``attempts``, 0 to 1; None: nothing ran."""
    finished_per_second: float
    """Jobs that succeeded or failed for good (a timeout is not told apart: it may be retried)."""
    wait_p95: float | None
    """Seconds from ready to the start of a run; None: nothing started."""
    run_p95: float | None
    """Seconds that a run took; None: nothing ended."""
    crashes: int
    """Workers of its pool that ended as nobody had planned."""


@dataclass(slots=True)
class _Sums:
    """One queue's counts since the beginning of time."""

    outcomes: dict[str, float] = field(default_factory=dict)
    crashes: float = 0.0
    wait: list[float] = field(default_factory=lambda: [0.0] * (len(BUCKETS[WAIT]) + 1))
    run: list[float] = field(default_factory=lambda: [0.0] * (len(BUCKETS[RUN]) + 1))

    def count(self, name: str, counts: Sequence[float]) -> None:
        """Add one series of a histogram."""
        if name == WAIT:
            self.wait = list(map(add, self.wait, counts))
        else:
            self.run = list(map(add, self.run, counts))


_Note = tuple[float, Mapping[str, _Sums]]


class Recent:
    """A ring of notes. Times are seconds on any clock that does not go back.

    :param step: seconds between two notes, which may come a tenth of it early.
    """

    def __init__(self, step: float) -> None:
        longest = max(WINDOWS.values())
        self._notes: deque[_Note] = deque(maxlen=int(longest / (0.9 * step)) + 2)

    def note(self, counted: Counted, now: float) -> None:
        """Keep what has been counted up to now."""
        sums = _summed(counted)
        if self._notes:
            before = self._notes[-1][1]
            sums = {
                queue: before[queue] if before.get(queue) == one else one
                for queue, one in sums.items()
            }
        self._notes.append((now, sums))

    def of(self, queue: str, window: float) -> Rates | None:
        """Return what a queue did in the last ``window`` seconds; None: nobody knows yet.

        Of a queue that has never run anything it is known that it did nothing.
        """
        if len(self._notes) < 2:  # noqa: PLR2004 - a difference needs two
            return None
        now, last = self._notes[-1]
        began, first = self._before(now - window)
        return _rates(first.get(queue, _Sums()), last.get(queue, _Sums()), now - began)

    def frame(self) -> dict[str, dict[str, Rates]]:
        """Return what every queue did, by queue and name of the window; empty: not known yet."""
        if len(self._notes) < 2:  # noqa: PLR2004 - as above
            return {}
        return {
            queue: {
                name: rates
                for name, window in WINDOWS.items()
                if (rates := self.of(queue, window)) is not None
            }
            for queue in self._notes[-1][1]
        }

    def _before(self, moment: float) -> _Note:
        """Return the last note that is not younger than ``moment``, else the oldest."""
        found = self._notes[0]
        for one in self._notes:
            if one[0] > moment:
                break
            found = one
        return found


def quantile(q: float, bounds: Sequence[float], counts: Sequence[float]) -> float | None:
    """Return a quantile of a histogram as Prometheus' ``histogram_quantile`` does.

    Linear within a bucket, the first one from 0; what lies beyond the last bound counts as it.

    :param q: more than 0, at most 1.
    :param counts: of each bucket alone, the last is +Inf.
    :returns: None: there are no observations.
    """
    running = list(accumulate(counts))
    total = running[-1]
    if total <= 0:
        return None
    rank = q * total
    index = next(i for i, reached in enumerate(running) if reached >= rank)
    if index == len(bounds):
        return bounds[-1]
    low = bounds[index - 1] if index else 0.0
    below = running[index - 1] if index else 0.0
    return low + (bounds[index] - low) * (rank - below) / counts[index]


def _summed(counted: Counted) -> dict[str, _Sums]:
    sums: dict[str, _Sums] = {}
    for labels, value in counted.series("counters", "attempts_total"):
        queue, outcome = labels.get("queue"), labels.get("outcome")
        if queue and outcome:  # a job can reach its worker's channel, and forge a snapshot
            outcomes = sums.setdefault(queue, _Sums()).outcomes
            outcomes[outcome] = outcomes.get(outcome, 0) + value
    for labels, value in counted.series("counters", "worker_exits_total"):
        if labels.get("reason") in CRASHES and (pool := labels.get("pool")):
            sums.setdefault(pool, _Sums()).crashes += value  # a pool has its queue's name
    for name in (WAIT, RUN):
        for labels, counts, _ in counted.series("histograms", name):
            if queue := labels.get("queue"):
                sums.setdefault(queue, _Sums()).count(name, counts)
    return sums


def _rates(first: _Sums, last: _Sums, seconds: float) -> Rates:
    outcomes = {
        outcome: rise
        for outcome, value in last.outcomes.items()
        if (rise := int(value - first.outcomes.get(outcome, 0))) > 0
    }
    attempts = sum(outcomes.values())
    failures = sum(count for outcome, count in outcomes.items() if outcome not in NO_FAILURE)
    finished = outcomes.get(Outcome.SUCCEEDED, 0) + outcomes.get(Outcome.FAILED, 0)
    return Rates(
        seconds=seconds,
        attempts=attempts,
        outcomes=outcomes,
        failures=failures,
        failure_ratio=failures / attempts if attempts else None,
        finished_per_second=finished / seconds if seconds > 0 else 0.0,
        wait_p95=quantile(_QUANTILE, BUCKETS[WAIT], _rises(first.wait, last.wait)),
        run_p95=quantile(_QUANTILE, BUCKETS[RUN], _rises(first.run, last.run)),
        crashes=max(0, int(last.crashes - first.crashes)),
    )


def _rises(first: Sequence[float], last: Sequence[float]) -> list[float]:
    return [max(0.0, b - a) for a, b in zip(first, last, strict=True)]
