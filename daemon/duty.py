"""Duties: what a process does again and again, each at its own pace, whatever becomes of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import structlog

from queued.errors import DriverUnavailable, QueueUnavailable

log = structlog.get_logger()

T = TypeVar("T")
Duty = Callable[[], Awaitable[object]]

FIRST_RETRY = 0.1
MAX_RETRY = 0.5
"""Seconds between tries while the back-end is away. The jobs of a worker that died meanwhile wait
for the first try after its return, and a host has one monitor: its tries cost a server nothing."""


async def every(period: float, duty: Duty, wake: asyncio.Event | None = None) -> None:
    """Call ``duty`` at once and every ``period`` seconds, ± 10 %, until cancelled.

    While the back-end is away it is tried at growing intervals of at most 0.5 s. Any other error
    is logged and the duty goes on with its next turn: one that fails must not take the others, such
    as the renewal of leases, with it.

    :param wake: when set, the next turn comes at once.
    """
    retry = FIRST_RETRY
    while True:
        if wake is not None:
            wake.clear()
        pause = period
        try:
            await duty()
            retry = FIRST_RETRY
        except QueueUnavailable:  # whoever watches the calls has said so; the others are served
            pass
        except DriverUnavailable:
            pause, retry = retry, min(2 * retry, MAX_RETRY)
        except Exception as error:  # noqa: BLE001 - see above
            _log_failure(duty, error)
        await _pause(pause, wake)


async def for_each(things: Iterable[T], do: Callable[[T], Awaitable[int]]) -> int:
    """Do something for each of ``things``, also when another one's queue is locked; add it up.

    :raises Exception: for one of them it could not be done; for the others it is. Of several
        errors, one that says that the back-end is away, else one that waiting does not mend.
    """
    total = 0
    away: DriverUnavailable | None = None
    fault: Exception | None = None
    refused: QueueUnavailable | None = None
    for thing in things:
        try:
            total += await do(thing)
        except QueueUnavailable as error:
            refused = error
        except DriverUnavailable as error:
            away = error
        except Exception as error:  # noqa: BLE001 - raised when the others had their turn
            fault = error
    for reason in (away, fault, refused):
        if reason is not None:
            raise reason
    return total


async def insist(duty: Duty) -> None:
    """Call ``duty`` until it succeeds, at growing intervals of at most 0.5 s."""
    retry = FIRST_RETRY
    while True:
        try:
            await duty()
        except DriverUnavailable:
            pass
        except Exception as error:  # noqa: BLE001 - as for ``every``
            _log_failure(duty, error)
        else:
            return
        await _pause(retry)
        retry = min(2 * retry, MAX_RETRY)


async def _pause(seconds: float, wake: asyncio.Event | None = None) -> None:
    seconds *= random.uniform(0.9, 1.1)  # noqa: S311 - jitter, no secret
    if wake is None:
        await asyncio.sleep(seconds)
        return
    try:
        async with asyncio.timeout(seconds):
            await wake.wait()
    except TimeoutError:
        pass


def _log_failure(duty: Duty, error: Exception) -> None:
    name = getattr(duty, "__qualname__", repr(duty))
    log.error("duty.failed", duty=name, exc_info=error)
