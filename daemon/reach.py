"""Whether the back-end answers: seen by every call of one process, said once when it changes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from queued.daemon.metrics import Counter, Family, Histogram, Metrics
from queued.errors import DriverError, DriverUnavailable, QueueUnavailable

log = structlog.get_logger()

GAP = 5.0
"""Seconds without an answer that count as a break: this process slept, or a call hung."""
REFUSAL_GAP = 2 * GAP
"""Seconds before a refusal that do: a queue that is locked was waited for, and others in line."""
TELL_EVERY = 60.0
"""Seconds from one line about a queue that cannot be used to the next."""
SETTLED = 15.0
"""Seconds without a failure after which an outage that came back at once is over."""


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
        self._error = ""
        self._failed_at = self._over_at = -math.inf
        self._told_at: float | None = None
        self._relapsed = False
        self._refusal, self._refused_at = "", -math.inf
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
        """Seconds for which every call was answered and no two were more than ``GAP`` apart.

        A queue that is refused counts as an answer: the back-end was there all along.
        """
        return max(0.0, self._answered_at - self._steady_since) if self.up else 0.0

    @property
    def error(self) -> str:
        """What the last call that failed was told, if that was just now; else nothing.

        Where ``up``, other calls are answered: a full disk still reads.
        """
        return self._error if self._clock() - self._failed_at <= GAP or self._up is False else ""

    @contextmanager
    def watch(self, operation: str) -> Iterator[None]:
        """Time one call of the driver and learn from how it ends."""
        started = self._clock()
        try:
            yield
        except QueueUnavailable as error:
            self._errors.series(self.driver, "queue_unavailable").value += 1
            self._refused(error)
            raise
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

    def _answered(self, gap: float = GAP) -> None:
        now = self._clock()
        if not self.up or now - self._answered_at > gap:
            self._steady_since = now
        self._answered_at = now
        if not self.up:
            self._up, self._since = True, now
        told_at = self._told_at
        if told_at is None or (self._relapsed and now - self._failed_at < SETTLED):
            return
        log.info("backend.reachable", driver=self.driver, away=round(now - told_at, 1))
        self._told_at, self._over_at = None, now

    def _refused(self, error: QueueUnavailable) -> None:
        self._answered(REFUSAL_GAP)
        now = self._clock()
        if str(error) != self._refusal or now - self._refused_at > TELL_EVERY:
            self._refusal, self._refused_at = str(error), now
            log.warning("queue.unavailable", driver=self.driver, error=self._refusal)
        self._error, self._failed_at = str(error), now

    def _failed(self, error: DriverUnavailable) -> None:
        now = self._clock()
        self._error, self._failed_at = str(error), now
        if self._up is not False:
            self._since = now if self._up else self._since
            self._up = False
        if self._told_at is None:  # where reads are answered and writes are not, this would flap
            self._told_at, self._relapsed = now, now - self._over_at < SETTLED
            log.warning("backend.unreachable", driver=self.driver, error=self._error)
