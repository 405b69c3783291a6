"""Metrics as text: one rendering a second and format at most, however many scrape.

A rendering of 2,000 series costs some ten milliseconds; a storm of scrapes must not cost the
monitor its leases. What is served is never older than a second.
"""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from prometheus_client.exposition import generate_latest as text_format
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as OPENMETRICS_TYPE
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics_format
from prometheus_client.registry import Collector, CollectorRegistry

TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MAX_AGE = 1.0
"""Seconds that a rendering is served again."""


@dataclass(slots=True)
class Rendering:
    """The bytes of one format, compressed when somebody first asks for that."""

    body: bytes
    content_type: str
    at: float
    _zipped: bytes = field(default=b"", repr=False)

    @property
    def zipped(self) -> bytes:
        self._zipped = self._zipped or gzip.compress(self.body, compresslevel=6, mtime=0)
        return self._zipped


class Exposition:
    """The page of ``/metrics`` over one collector."""

    def __init__(
        self, collector: Collector, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(collector)
        self._clock = clock
        self._cache: dict[bool, Rendering] = {}

    def render(self, accept: str) -> Rendering:
        """Return the metrics in the format that the ``Accept`` header asks for."""
        openmetrics = "application/openmetrics-text" in accept.lower()
        kept = self._cache.get(openmetrics)
        now = self._clock()
        if kept is not None and now - kept.at < MAX_AGE:
            return kept
        if openmetrics:
            fresh = Rendering(
                openmetrics_format(self._registry),  # type: ignore[no-untyped-call]
                OPENMETRICS_TYPE,
                now,
            )
        else:
            fresh = Rendering(text_format(self._registry), TEXT_TYPE, now)
        self._cache[openmetrics] = fresh
        return fresh
