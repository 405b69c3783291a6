"""Duties go on, whatever happens in one of their turns."""

from __future__ import annotations

import asyncio

import structlog

from queued.daemon.duty import every, insist
from queued.errors import DriverUnavailable


class Duty:
    """Raises what it is told to, turn by turn, then nothing."""

    def __init__(self, *errors: Exception | None) -> None:
        self.errors = list(errors)
        self.turns = 0
        self.began = asyncio.Event()
        self.done = asyncio.Event()

    async def __call__(self) -> None:
        self.turns += 1
        self.began.set()
        if not self.errors:
            self.done.set()
            return
        error = self.errors.pop(0)
        if error is not None:
            raise error


async def test_a_duty_outlives_its_errors() -> None:
    duty = Duty(ValueError("boom"), DriverUnavailable("away"), None, DriverUnavailable("away"))
    with structlog.testing.capture_logs() as lines:
        running = asyncio.create_task(every(0.01, duty))
        async with asyncio.timeout(20):
            await duty.done.wait()
        running.cancel()
    assert [line["event"] for line in lines] == ["duty.failed"], "an outage is logged elsewhere"


async def test_a_wake_up_comes_before_the_period() -> None:
    duty, wake = Duty(None), asyncio.Event()
    running = asyncio.create_task(every(3600.0, duty, wake))
    async with asyncio.timeout(20):
        await duty.began.wait()
        wake.set()
        await duty.done.wait()
    running.cancel()


async def test_insisting_ends_with_the_first_success() -> None:
    duty = Duty(DriverUnavailable("away"), ValueError("boom"))
    with structlog.testing.capture_logs():
        async with asyncio.timeout(20):
            await insist(duty)
    assert duty.turns == 3
