"""The series that a worker counts its jobs in, found once and then at hand on the hot path."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from queued.daemon.metrics import Bounded, Counter, Histogram, Metrics
from queued.daemon.tally import LIMITS
from queued.jobs.outcome import Outcome

MAX_ERROR_NAME = 200


class ClassMeters:
    """The series of one job class on this worker's queue."""

    __slots__ = ("outcomes", "run", "succeeded")

    def __init__(self, outcomes: dict[Outcome, Counter], run: Histogram) -> None:
        self.outcomes = outcomes
        self.succeeded = outcomes[Outcome.SUCCEEDED]
        self.run = run


class WorkerMeters:
    """The series of one worker. Labels that jobs bring with them are bounded."""

    def __init__(self, metrics: Metrics, queue: str, pool: str) -> None:
        self._queue = queue
        self._attempts = metrics.counter("attempts_total", "queue", "job_class", "outcome")
        self._errors = metrics.counter("job_errors_total", "queue", "error")
        dropped = metrics.counter("dropped_labelsets_total").series()
        self._class_label = Bounded(LIMITS["job_class"], dropped)
        self._error_label = Bounded(LIMITS["error"], dropped)
        self._runs = metrics.histogram("job_run_seconds", "queue", "job_class")
        self.wait = metrics.histogram("job_wait_seconds", "queue").series(queue)
        self.payload = metrics.histogram("job_payload_bytes", "queue").series(queue)
        self.end_to_end = metrics.histogram("job_end_to_end_seconds", "queue").series(queue)
        self.lag = metrics.histogram("event_loop_lag_seconds", "pool").series(pool)
        self.stale_acks = metrics.counter("stale_acks_total", "queue").series(queue)
        self.in_flight = metrics.gauge("jobs_in_flight", "queue").series(queue)
        self.busy = metrics.counter("worker_busy_seconds_total", "pool").series(pool)

    def seconds_run(self) -> float:
        """Return how long all runs that have ended took, together."""
        return sum(series.sum for _, series in self._runs.items())

    def begin(self, names: Iterable[str]) -> None:
        """Begin to count the outcomes of classes at zero: then the first failure is an increase."""
        for name in islice(names, LIMITS["job_class"]):
            self._outcomes(self._class_label(name))

    def of_class(self, name: str) -> ClassMeters:
        label = self._class_label(name)
        return ClassMeters(self._outcomes(label), self._runs.series(self._queue, label))

    def _outcomes(self, label: str) -> dict[Outcome, Counter]:
        series = self._attempts.series
        return {outcome: series(self._queue, label, outcome.value) for outcome in Outcome}

    def error(self, error: BaseException) -> Counter:
        label = self._error_label(type(error).__name__[:MAX_ERROR_NAME])
        return self._errors.series(self._queue, label)
