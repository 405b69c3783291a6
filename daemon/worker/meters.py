"""The series that a worker counts its jobs in, found once and then at hand on the hot path."""

from __future__ import annotations

from queued.daemon.metrics import Bounded, Counter, Metrics
from queued.jobs.outcome import Outcome

MAX_CLASSES = 200
MAX_ERRORS = 10


class ClassMeters:
    """The series of one job class on this worker's queue."""

    __slots__ = ("outcomes", "run", "succeeded")

    def __init__(self, metrics: Metrics, queue: str, label: str) -> None:
        attempts = metrics.counter("attempts_total", "queue", "job_class", "outcome")
        self.outcomes = {
            outcome: attempts.series(queue, label, outcome.value) for outcome in Outcome
        }
        self.succeeded = self.outcomes[Outcome.SUCCEEDED]
        self.run = metrics.histogram("job_run_seconds", "queue", "job_class").series(queue, label)


class WorkerMeters:
    """The series of one worker. Labels that jobs bring with them are bounded."""

    def __init__(self, metrics: Metrics, queue: str, pool: str) -> None:
        self._metrics = metrics
        self._queue = queue
        self._errors = metrics.counter("job_errors_total", "queue", "error")
        dropped = metrics.counter("dropped_labelsets_total").series()
        self._class_label = Bounded(MAX_CLASSES, dropped)
        self._error_label = Bounded(MAX_ERRORS, dropped)
        self._runs = metrics.histogram("job_run_seconds", "queue", "job_class")
        self.wait = metrics.histogram("job_wait_seconds", "queue").series(queue)
        self.end_to_end = metrics.histogram("job_end_to_end_seconds", "queue").series(queue)
        self.lag = metrics.histogram("event_loop_lag_seconds", "pool").series(pool)
        self.stale_acks = metrics.counter("stale_acks_total", "queue").series(queue)
        self.in_flight = metrics.gauge("jobs_in_flight", "queue").series(queue)
        self.busy = metrics.counter("worker_busy_seconds_total", "pool").series(pool)

    def seconds_run(self) -> float:
        """Return how long all runs that have ended took, together."""
        return sum(series.sum for _, series in self._runs.items())

    def of_class(self, name: str) -> ClassMeters:
        return ClassMeters(self._metrics, self._queue, self._class_label(name))

    def error(self, error: BaseException) -> Counter:
        label = self._error_label(type(error).__name__)
        return self._errors.series(self._queue, label)
