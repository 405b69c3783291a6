"""The jobs of the example."""

from __future__ import annotations

import structlog

from queued import Job

log = structlog.get_logger()


class Greet(Job):
    """Say hello: ``queued dispatch app.jobs.Greet '{"who": "Ada"}'``."""

    timeout = 30

    who: str

    async def handle(self) -> None:
        log.info("greeted", who=self.who)

    async def failed(self, exception: Exception) -> None:
        log.warning("not greeted", who=self.who, error=str(exception))
