"""What surrounds the weather station: a mail server for its digests, and who dispatches jobs."""

from __future__ import annotations

import asyncio
import time
import urllib.error
import urllib.request
from pathlib import Path

from aiosmtpd.handlers import Mailbox
from aiosmtpd.smtp import SMTP

from examples.weather.jobs import (
    OUTPUT,
    CalibrateSensor,
    EstimateMean,
    FetchObservation,
    MailDigest,
    MonthlyReport,
    ReadBrokenSensor,
)
from queued import dispatch, queue

HINTS = """
  What you see: mails sent, reports written, a sensor retried, a worker killed and replaced.
  Try next, in another terminal:

    .venv/bin/queued status                     pools, workers and queues on one screen
    curl -s {address}/metrics | grep queued_    what Prometheus scrapes
    .venv/bin/queued failed list                the sensor that is unplugged
    .venv/bin/queued dispatch examples.weather.jobs.MonthlyReport '{{}}'
    ls {output}                                 the mails and the report
    kill -9 the pid of a worker                 and look at this terminal

  Ctrl-C drains the workers and stops.
"""


async def daemon_is_ready(address: str, seconds: float) -> bool:
    """Wait until /readyz says yes, at most ``seconds``."""

    def ask() -> bool:
        try:
            with urllib.request.urlopen(f"{address}/readyz", timeout=1) as answer:  # noqa: S310 - loopback
                return bool(answer.status == 200)  # noqa: PLR2004
        except (urllib.error.URLError, OSError):
            return False

    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if await asyncio.to_thread(ask):
            return True
        await asyncio.sleep(0.1)
    return False


async def first_load() -> None:
    """Dispatch some of each job: enough to see every kind of thing happen once."""
    await dispatch(MonthlyReport())
    await queue.bulk([MailDigest(to="reader@example.org", month=month) for month in range(1, 13)])
    await queue.bulk([FetchObservation(sensor=sensor) for sensor in range(20)])
    await queue.bulk([EstimateMean(month=month) for month in range(1, 7)])
    await dispatch(ReadBrokenSensor(sensor=13))
    await queue.later(2, CalibrateSensor(sensor=4))


async def live(port: int, address: str, daemon: int, *, load: bool) -> None:
    """Serve mail, dispatch a first load and then a trickle, until the daemon is gone."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    mailbox = Mailbox(str(OUTPUT / "mail"))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(mailbox, loop=loop), "127.0.0.1", port)
    async with server:
        if load and await daemon_is_ready(address, 60):
            await first_load()
            print(HINTS.format(address=address, output=OUTPUT), flush=True)
        month = 0
        while alive(daemon):
            await asyncio.sleep(1)
            month = month % 12 + 1
            if load:
                await dispatch(FetchObservation(sensor=month))
                await dispatch(MailDigest(to="reader@example.org", month=month))


def alive(pid: int) -> bool:
    """Tell whether the process still runs."""
    return Path(f"/proc/{pid}").exists()
