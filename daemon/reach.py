"""Whether the back-end answers: seen by every call of one process, said once when it changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from queued.daemon.metrics import Counter, Family, Histogram, Metrics
from queued.errors import DriverError, DriverUnavailable

log = structlog.get_logger()

GAP = 5.0
"""Seconds without an answer that count as a break: this process slept, or a call hung."""


class Reach:
    """What the calls of one process tell about its back-end."""

    def __init__(
        self, driver: str, metrics: Metrics, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.driver = driver
        self._clock = clock
        self._operations: Family[Histogram] = metrics.histogram(
            "driver_operation_seconds", "driver", "operation"
        )
        self._errors: Family[Counter] = metrics.counter("driver_errors_total", "driver", "kind")
        self._errors.series(driver, "unavailable")  # at zero: then the first one is an increase
        self._up: bool | None = None
        self._since = clock()
        self._steady_since = self._answered_at = self._since

    @property
    def up(self) -> bool:
        """Whether the last call was answered."""
        return self._up is True

    @property
    def since(self) -> float:
        """Seconds since that changed (at first: since this process looks)."""
        return self._clock() - self._since

    @property
    def steady(self) -> float:
        """Seconds for which every call was answered and no two were more than ``GAP`` apart."""
        return max(0.0, self._answered_at - self._steady_since) if self.up else 0.0

    @contextmanager
    def watch(self, operation: str) -> Iterator[None]:
        """Time one call of the driver and learn from how it ends."""
        started = self._clock()
        try:
            yield
        except DriverUnavailable as error:
            self._errors.series(self.driver, "unavailable").value += 1
            self._failed(error)
            raise
        except DriverError as error:  # it answered, if not as we hoped
            self._errors.series(self.driver, type(error).__name__).value += 1
            self._answered()
            raise
        self._operations.series(self.driver, operation).observe(self._clock() - started)
        self._answered()

    def _answered(self) -> None:
        now = self._clock()
        if not self.up or now - self._answered_at > GAP:
            self._steady_since = now
        self._answered_at = now
        if self._up is False:
            log.info("backend.reachable", driver=self.driver, away=round(self.since, 1))
        if not self.up:
            self._up, self._since = True, now

    def _failed(self, error: DriverUnavailable) -> None:
        if self._up is False:
            return
        log.warning("backend.unreachable", driver=self.driver, error=str(error))
        if self._up:
            self._since = self._clock()
        self._up = False
