"""Duties go on, whatever happens in one of their turns."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import structlog

from queued.daemon import duty as duties
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


@pytest.mark.parametrize("repeat", [insist, partial(every, 3600.0)])
async def test_tries_while_the_back_end_is_away_are_half_a_second_apart_at_most(
    repeat: Callable[[Duty], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a dead worker held waits for the first try after an outage, on every host."""
    pauses: list[float] = []

    async def pause(seconds: float, _: asyncio.Event | None = None) -> None:
        pauses.append(seconds)
        if seconds == 3600.0:
            raise asyncio.CancelledError

    monkeypatch.setattr(duties, "_pause", pause)
    running = asyncio.ensure_future(repeat(Duty(*[DriverUnavailable("away")] * 8)))
    await asyncio.wait({running})
    assert pauses[:8] == [0.1, 0.2, 0.4, 0.5, 0.5, 0.5, 0.5, 0.5]
