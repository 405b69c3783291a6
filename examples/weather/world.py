"""What surrounds the weather station: a mail server for its digests, and who dispatches jobs."""

from __future__ import annotations

import asyncio
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
  What you see: mails sent, a report written, means estimated, sensors retried, a sensor given
  up, a worker killed by its job and replaced. It goes on with a sensor and a mail now and then.

  Try next, in another terminal, in this folder:

    {address}/                 is all well, in a browser
    .venv/bin/queued status                the same, and what runs
    .venv/bin/queued top                   the same, while you watch
    .venv/bin/queued why low-priority      what the jobs of a queue wait for
    kill -9 PID                            of one from status --workers; then look here
    .venv/bin/queued failed list           the sensor that is unplugged
    .venv/bin/queued failed retry --all    gives it another chance
    .venv/bin/queued dispatch examples.weather.jobs.MonthlyReport
    ls {output}
    curl -s {address}/metrics | grep ^queued_

  Ctrl-C drains the workers and stops.
"""
SETTLING = 8.0
"""Seconds for the first load to be done with, its retries included; then the hints stay in view."""
EVERY = 5.0
"""Seconds between the jobs that follow."""


async def ready(address: str, daemon: int) -> bool:
    """Wait until /readyz says yes; return False if the daemon ends before."""

    def ask() -> bool:
        try:
            with urllib.request.urlopen(f"{address}/readyz", timeout=1) as answer:  # noqa: S310 - loopback
                return bool(answer.status == 200)  # noqa: PLR2004
        except (urllib.error.URLError, OSError):
            return False

    while alive(daemon):
        if await asyncio.to_thread(ask):
            return True
        await asyncio.sleep(0.1)
    return False


async def first_load() -> None:
    """Dispatch some of each job: enough to see every kind of thing happen once."""
    await dispatch(MonthlyReport())
    await queue.bulk([MailDigest(to="reader@example.org", month=month) for month in (1, 4, 7, 10)])
    await queue.bulk([EstimateMean(month=month) for month in (1, 7)])
    await queue.bulk([FetchObservation(sensor=sensor) for sensor in (1, 2)])
    await dispatch(ReadBrokenSensor(sensor=13))
    await queue.later(4, CalibrateSensor(sensor=4))


async def live(port: int, address: str, daemon: int) -> None:
    """Serve mail, dispatch a first load and then a trickle, until the daemon is gone."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    mailbox = Mailbox(str(OUTPUT / "mail"))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(mailbox, loop=loop), "127.0.0.1", port)
    async with server:
        if not await ready(address, daemon):
            return
        await first_load()
        await asyncio.sleep(SETTLING)
        print(HINTS.format(address=address, output=shown(OUTPUT)), flush=True)
        month = 0
        while alive(daemon):
            month = month % 12 + 1
            await dispatch(FetchObservation(sensor=month))
            await dispatch(MailDigest(to="reader@example.org", month=month))
            await asyncio.sleep(EVERY)


def shown(path: Path) -> Path:
    """Return the path as short as it can be typed here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def alive(pid: int) -> bool:
    """Tell whether the process still runs."""
    return Path(f"/proc/{pid}").exists()
