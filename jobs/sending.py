"""Packed jobs on their way to the back-end: many of them at once, or one from a plain thread."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from typing import cast

from queued.drivers.base import Enqueued, Enqueuer, NewJob
from queued.errors import DriverError, DriverUnavailable
from queued.jobs.client import Client, unavailable
from queued.jobs.parcel import Load
from queued.jobs.receipt import Receipt


async def send_load(client: Client, load: Load) -> list[Receipt]:
    """Enqueue packed jobs in batches, of which two are on their way at a time.

    While the back-end works on one, the driver makes the next one ready.

    :raises DriverUnavailable: it failed on the way; its ``ids`` were not acknowledged.
    """
    enqueued: list[Enqueued | None] = [None] * len(load.ids)
    sent: deque[tuple[Sequence[int], asyncio.Future[list[Enqueued]]]] = deque()

    async def receive() -> None:
        batch, answers = sent.popleft()
        for number, new in zip(batch, await answers, strict=True):
            enqueued[number] = new

    try:
        for name, batch in load.batches():
            sent.append((batch, client.enqueue_all(name, load.jobs(batch))))
            if len(sent) > 1:
                await receive()
        while sent:
            await receive()
    except DriverUnavailable as error:
        while sent:
            with contextlib.suppress(DriverError):
                await receive()
        left = [job_id for job_id, new in zip(load.ids, enqueued, strict=True) if new is None]
        count = len(load.ids)
        done = f"{count - len(left)} of {count} jobs were acknowledged; "
        raise unavailable(error, left, done) from error
    finally:
        for _, answers in sent:
            answers.cancel()
    make = Receipt.of if load.uniques else Receipt
    return list(map(make, load.ids, cast("list[bool]", enqueued)))


def send_blocking(enqueuer: Enqueuer, queue: str, job: NewJob) -> Receipt:
    """Enqueue one job in this thread.

    :raises DriverUnavailable: the back-end cannot be reached; its ``ids`` name this job.
    """
    try:
        [enqueued] = enqueuer.enqueue(queue, [job])
    except DriverUnavailable as error:
        raise unavailable(error, [job.id]) from error
    return Receipt.of(job.id, enqueued)
