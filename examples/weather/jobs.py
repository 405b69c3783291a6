"""A weather station's background jobs: one of each kind that queued runs.

``make run`` starts them on SQLite. Every job does real work; three of them go wrong on purpose.
"""

from __future__ import annotations

import csv
import os
import random
import signal
import smtplib
import statistics
from collections import defaultdict
from email.message import EmailMessage
from pathlib import Path

import structlog

from queued import Job, Retry

HERE = Path(__file__).parent
OBSERVATIONS = HERE / "data" / "san-francisco-2010.csv"
OUTPUT = Path(os.environ.get("WEATHER_OUTPUT", HERE / "output"))

log = structlog.get_logger()


def temperatures(month: int | None = None) -> list[tuple[str, float]]:
    """Return (date and hour, degrees Celsius) of a month of 2010, or of the whole year."""
    with OBSERVATIONS.open(newline="") as file:
        rows = [(row["date"], (float(row["temp"]) - 32) / 1.8) for row in csv.DictReader(file)]
    return [row for row in rows if month is None or int(row[0][5:7]) == month]


class MailDigest(Job):
    """An e-mail with the month's figures, sent to the SMTP server of the environment."""

    queue = "emails"
    max_tries = 5
    timeout = 30
    retry_after = 10

    to: str
    month: int

    def handle(self) -> None:
        degrees = [celsius for _, celsius in temperatures(self.month)]
        message = EmailMessage()
        message["From"] = "station@example.org"
        message["To"] = self.to
        message["Subject"] = f"Weather of 2010-{self.month:02}"
        message["Message-ID"] = f"<{self.job_id}@example.org>"  # a repeated run is recognisable
        message.set_content(f"From {min(degrees):.1f} to {max(degrees):.1f} °C.\n")
        host, port = (
            os.environ.get("SMTP_HOST", "127.0.0.1"),
            int(os.environ.get("SMTP_PORT", "25")),
        )
        with smtplib.SMTP(host, port, timeout=10) as server:
            server.send_message(message)
        log.info("digest.sent", to=self.to, month=self.month)

    async def failed(self, exception: Exception) -> None:
        log.error("digest.not_sent", to=self.to, error=str(exception))


class MonthlyReport(Job):
    """A CSV file of the year's months, computed from 8,759 hourly observations."""

    queue = "reports"
    timeout = 120

    def handle(self) -> None:
        months: dict[str, list[float]] = defaultdict(list)
        for date, celsius in temperatures():
            months[date[:7]].append(celsius)
        OUTPUT.mkdir(parents=True, exist_ok=True)
        # Written aside and renamed: run twice, or cut off, the report is whole and the same.
        draft = OUTPUT / f".months.{self.job_id}"
        with draft.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["month", "hours", "min", "mean", "max"])
            for month, degrees in sorted(months.items()):
                figures = (min(degrees), statistics.fmean(degrees), max(degrees))
                writer.writerow([month, len(degrees), *(f"{figure:.2f}" for figure in figures)])
        draft.replace(OUTPUT / "months.csv")
        log.info("report.written", months=len(months))

    async def failed(self, exception: Exception) -> None:
        log.error("report.not_written", error=str(exception))


class EstimateMean(Job):
    """A bootstrap of the month's mean temperature: pure computation, so a plain ``handle``.

    queued runs it in a thread of the worker, and the event loop goes on.
    """

    queue = "low-priority"
    timeout = 60

    month: int
    samples: int = 400

    def handle(self) -> None:
        degrees = [celsius for _, celsius in temperatures(self.month)]
        draw = random.Random(self.month)
        means = sorted(
            statistics.fmean(draw.choices(degrees, k=len(degrees))) for _ in range(self.samples)
        )
        low, high = means[self.samples // 40], means[-self.samples // 40]
        log.info("mean.estimated", month=self.month, low=round(low, 2), high=round(high, 2))

    async def failed(self, exception: Exception) -> None:
        log.error("mean.not_estimated", month=self.month, error=str(exception))


class FetchObservation(Job):
    """A sensor that does not always answer: busy on its first run; an odd one also fails once."""

    queue = "critical"
    max_tries = 5
    retry_after = 1

    sensor: int

    async def handle(self) -> None:
        if self.attempts == 1:
            raise Retry(f"sensor {self.sensor} is busy", in_=1)
        if self.attempts < 3 and self.sensor % 2:  # noqa: PLR2004 - the second run
            raise TimeoutError(f"sensor {self.sensor} did not answer")
        log.info("sensor.read", sensor=self.sensor)

    async def failed(self, exception: Exception) -> None:
        log.error("sensor.lost", sensor=self.sensor, error=str(exception))


class CalibrateSensor(Job):
    """A job that takes its whole process down the first time, as a faulty C library would.

    The master starts another worker at once, and the job runs again: that is what to watch for.
    """

    queue = "default"

    sensor: int

    async def handle(self) -> None:
        if self.attempts == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        log.info("sensor.calibrated", sensor=self.sensor)

    async def failed(self, exception: Exception) -> None:
        log.error("sensor.not_calibrated", sensor=self.sensor, error=str(exception))


class ReadBrokenSensor(Job):
    """A job that never works: after its two tries it is among the failed ones."""

    queue = "default"
    max_tries = 2
    retry_after = 2

    sensor: int

    async def handle(self) -> None:
        raise ConnectionError(f"sensor {self.sensor} is unplugged")

    async def failed(self, exception: Exception) -> None:
        log.error("sensor.broken", sensor=self.sensor, error=str(exception))
