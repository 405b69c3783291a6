"""The jobs of a shop on a bad day: each queue has the trouble of one alert, ``critical`` has none.

The daemons of ``scene.py`` import this file as ``work``.
"""

from __future__ import annotations

import asyncio
import os
import random
import time

from queued import Job, queue


class ChargeCard(Job):
    """All is well."""

    queue = "critical"
    name = "shop.ChargeCard"

    async def handle(self) -> None:
        await asyncio.sleep(random.uniform(0.005, 0.05))


class SendEmail(Job):
    """A mail server with moods: some runs fail, few jobs do."""

    queue = "emails"
    name = "shop.SendEmail"
    max_tries = 2
    retry_after = 1

    async def handle(self) -> None:
        await asyncio.sleep(random.uniform(0.05, 0.2))
        mood = random.random()
        if mood < 0.15:
            raise ConnectionResetError("the server hung up")
        if mood < 0.25:
            raise LookupError("no such mailbox")


class BuildReport(Job):
    """More is put in than can be done."""

    queue = "reports"
    name = "shop.BuildReport"

    async def handle(self) -> None:
        await asyncio.sleep(random.uniform(0.8, 1.2))


class ResizeImage(Job):
    """A native library that takes its process along, for some images."""

    queue = "images"
    name = "shop.ResizeImage"
    broken: bool = False

    async def handle(self) -> None:
        await asyncio.sleep(0.02)
        if self.broken:
            os._exit(139)


class CallWebhook(Job):
    """The other side does not answer."""

    queue = "webhooks"
    name = "shop.CallWebhook"
    timeout = 0.5
    max_tries = 2
    slow: bool = False

    async def handle(self) -> None:
        await asyncio.sleep(30 if self.slow else 0.1)


class SyncStock(Job):
    """Blocks the loop, where a plain ``handle`` would have got a thread."""

    queue = "stock"
    name = "shop.SyncStock"

    async def handle(self) -> None:
        time.sleep(1.5)  # noqa: ASYNC251  the fault


class ImportFeed(Job):
    """Its queue has no worker."""

    queue = "feeds"
    name = "shop.ImportFeed"

    async def handle(self) -> None:
        return


class MineData(Job):
    """Runs on the host that is lost."""

    queue = "mining"
    name = "shop.MineData"

    async def handle(self) -> None:
        await asyncio.sleep(3600)


class Customers(Job):
    """Puts all of it in, again and again, until its daemon ends."""

    queue = "customers"
    name = "shop.Customers"
    backlog: int = 4_000

    async def handle(self) -> None:
        await queue.bulk([BuildReport() for _ in range(self.backlog)])
        await queue.bulk([MineData() for _ in range(3)])
        beat = 0
        while True:
            await queue.bulk(self.orders(beat))
            beat += 1
            await asyncio.sleep(0.5)

    def orders(self, beat: int) -> list[Job]:
        """Return what comes in half a second."""
        jobs: list[Job] = [ChargeCard() for _ in range(5)]
        jobs += [SendEmail() for _ in range(3)]
        jobs += [BuildReport() for _ in range(3)]
        jobs += [ResizeImage(broken=beat % 3 == 0), CallWebhook(slow=beat % 4 == 0)]
        if beat % 3 == 0:
            jobs += [SyncStock(), ImportFeed()]
        return jobs
