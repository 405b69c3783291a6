"""A real site on a free port, served in the test's own loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from queued.daemon.metrics import Metrics
from queued.daemon.monitor.collector import FleetCollector
from queued.daemon.monitor.fleet import Fleet
from queued.daemon.monitor.overview import overview
from queued.daemon.reach import Reach
from queued.daemon.spec import QueueSpec
from queued.web.app import allowed_hosts, create_app
from queued.web.overview import Overview
from queued.web.server import serve


class Site:
    """What is served, and what the test may change about it."""

    def __init__(self, *, token: str | None = None) -> None:
        self.fleet = Fleet()
        self.metrics = Metrics()
        self.reach = Reach("memory", self.metrics)
        self.max_waits: dict[str, float] = {}
        self.max_failure_rate: float | None = None
        self.collector = FleetCollector(self.fleet, self.reach, {})
        self.recent: dict[str, Any] = {}
        self.reasons: list[str] = []
        self.stop = asyncio.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)  # shared by all its duplicates
        self.port: int = self.listener.getsockname()[1]
        self.app = create_app(
            self.collector.freeze,
            lambda: self.reasons,
            self._overview,
            token=token,
            hosts=allowed_hosts(f"127.0.0.1:{self.port}", token),
        )

    def _overview(self) -> Overview:
        url = "redis://ada:s3cret@db.example:6379/0"
        return overview(
            url,
            self.fleet,
            self.collector.sample,
            self.reach,
            queues={
                name: QueueSpec(max_wait=max_wait, max_failure_rate=self.max_failure_rate)
                for name, max_wait in self.max_waits.items()
            },
            recent=self.recent,
            unserved={},
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def running(*, token: str | None = None) -> AsyncIterator[tuple[Site, httpx.AsyncClient]]:
    """Serve a site; yield it with a client of it."""
    site = Site(token=token)
    async with asyncio.TaskGroup() as group, httpx.AsyncClient(base_url=site.url) as client:
        group.create_task(serve(site.app, site.listener.dup(), site.stop))
        try:
            yield site, client
        finally:
            site.stop.set()
            site.listener.close()
