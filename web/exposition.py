"""Metrics as text: rendered in a thread, and kept fresh for as long as somebody scrapes them.

A rendering of 2,000 series costs some twenty milliseconds, which must cost the monitor neither its
leases nor whoever scrapes the wait. So a scrape is answered with bytes that are there, and they are
made anew before the next one comes: once a second, or less often where that would take more than a
25th of the time. Where nobody has scraped for minutes nothing is rendered, and the first one waits.
"""

from __future__ import annotations

import asyncio
import gzip
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from prometheus_client.exposition import generate_latest as text_format
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as OPENMETRICS_TYPE
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics_format
from prometheus_client.registry import Collector, CollectorRegistry

log = structlog.get_logger()

TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text"
REFUSED = re.compile(r"q\s*=\s*0(\.0*)?")

MIN_AGE = 1.0
"""Seconds between two renderings, at least."""
SHARE = 25
"""How many times as long as a rendering takes the pause after it is, up to"""
MAX_AGE = 15.0
"""so many seconds: whoever scrapes more often than that has thousands of series by choice."""
WANTED = 150.0
"""Seconds after a scrape in which another one is expected."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """The bytes of one format, plain and compressed."""

    body: bytes
    zipped: bytes
    content_type: str
    at: float
    """When it was begun, on the monotonic clock."""
    took: float
    """Seconds."""

    @property
    def pause(self) -> float:
        """Seconds until the next one is begun."""
        return min(max(MIN_AGE, SHARE * self.took), MAX_AGE)

    @property
    def good_for(self) -> float:
        """Seconds from its beginning for which it is served.

        By then the next one is rendered, even if that takes twice as long.
        """
        return 2 * (self.took + self.pause)


class Exposition:
    """The page of ``/metrics``, for one event loop.

    :param source: called in the loop, returns what is to be shown; it is read in a thread.
    """

    def __init__(self, source: Callable[[], Collector]) -> None:
        self._source = source
        self._kept: dict[bool, Rendering] = {}
        self._under_way: dict[bool, asyncio.Task[Rendering]] = {}
        self._asked_at: dict[bool, float] = {}
        self._timers: dict[bool, asyncio.TimerHandle] = {}

    async def page(self, accept: str) -> Rendering:
        """Return the metrics in the format that the ``Accept`` header asks for.

        They are there already, unless nobody has asked for that format lately.
        """
        openmetrics = OPENMETRICS in accept.lower()
        now = self._asked_at[openmetrics] = time.monotonic()
        kept = self._kept.get(openmetrics)
        if kept is not None and now - kept.at < kept.good_for:
            return kept
        return await asyncio.shield(self._render(openmetrics))

    def _render(self, openmetrics: bool) -> asyncio.Task[Rendering]:
        """Begin a rendering, if none is under way."""
        task = self._under_way.get(openmetrics)
        if task is None:
            working = asyncio.to_thread(render, self._source(), openmetrics=openmetrics)
            task = self._under_way[openmetrics] = asyncio.create_task(working)
            task.add_done_callback(lambda task: self._rendered(openmetrics, task))
        return task

    def _rendered(self, openmetrics: bool, task: asyncio.Task[Rendering]) -> None:
        del self._under_way[openmetrics]
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            log.error("metrics.not_rendered", exc_info=error)
            return
        page = self._kept[openmetrics] = task.result()
        if openmetrics in self._timers:
            self._timers[openmetrics].cancel()
        loop = asyncio.get_running_loop()
        self._timers[openmetrics] = loop.call_later(page.pause, self._refresh, openmetrics)

    def _refresh(self, openmetrics: bool) -> None:
        if time.monotonic() - self._asked_at[openmetrics] < WANTED:
            self._render(openmetrics)


def takes_gzip(accept_encoding: str) -> bool:
    """Return whether the header asks for gzip; prometheus_client and starlette overlook ``q=0``."""
    for coding in accept_encoding.lower().split(","):
        name, *parameters = (part.strip() for part in coding.split(";"))
        if name == "gzip":
            return not any(REFUSED.fullmatch(one) for one in parameters)
    return False


def render(collector: Collector, *, openmetrics: bool) -> Rendering:
    """Render what a collector yields."""
    began = time.monotonic()
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    if openmetrics:
        body, content_type = openmetrics_format(registry), OPENMETRICS_TYPE  # type: ignore[no-untyped-call]
    else:
        body, content_type = text_format(registry), TEXT_TYPE
    zipped = gzip.compress(body, compresslevel=6, mtime=0)
    return Rendering(body, zipped, content_type, began, time.monotonic() - began)
