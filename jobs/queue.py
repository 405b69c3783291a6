"""``Queue``: the producer, and the verbs that go with it.

Queue.push → parcel.pack → payload.encode → client → driver.enqueue
Queue.bulk → parcel.Load → sending → client → driver.enqueue
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, overload

from queued.drivers import enqueuer_for, join_for
from queued.drivers.base import MAX_BATCH, Enqueuer, QueueStats
from queued.drivers.sequel import Batch, Parcel
from queued.environment import find_connection, normalise, who
from queued.jobs import tracing
from queued.jobs.client import Client, Clients
from queued.jobs.job import Job
from queued.jobs.parcel import Delay, Load, checked_id, checked_queue, pack, seconds_until
from queued.jobs.receipt import Receipt
from queued.jobs.registry import DEFAULT_QUEUE
from queued.jobs.sending import send_blocking, send_load
from queued.jobs.text import one_line
from queued.jobs.unique import Lasting
from queued.jobs.work import ReceiptT, Work

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
    from sqlalchemy.orm import Session

    from queued.jobs.sync import SyncQueue
    from queued.jobs.within import AsyncWithin, Within


class Queue:
    """A producer: it enqueues jobs and says how many wait.

    It may be used from any number of event loops, threads and forked processes; each loop has its
    own connection, opened at the first use and closed with the loop. The back-end is that of
    ``connect``, else of QUEUE_CONNECTION, else of queue.yaml, looked up once.
    """

    def __init__(self, url: str | None = None) -> None:
        self._url: str | None = None
        self._found: str | None = None
        self._instead: str | None = None
        self._clients = Clients()
        self._enqueuer: tuple[str, Enqueuer | None] = ("", None)
        self._join: tuple[str, Any] = ("", None)
        if url is not None:
            self.connect(url)

    def connect(self, url: str) -> None:
        """Use the back-end at ``url`` from now on. It connects at the first use.

        :raises ConfigError: it is no URL.
        """
        self._url = normalise(url, Path.cwd())

    def fall_back_to(self, url: str) -> None:
        """Use the back-end at ``url`` if ``connect`` names none: a worker's own, for its jobs."""
        self._found = url

    @contextlib.contextmanager
    def instead(self, url: str) -> Iterator[None]:
        """Use the back-end at ``url`` within the block, whatever is connected before or in it.

        For tests: the ``url`` is taken as it is.
        """
        before, self._instead = self._instead, url
        try:
            yield
        finally:
            self._instead = before

    @cached_property
    def sync(self) -> SyncQueue:
        """The same verbs for code without an event loop; they block."""
        from queued.jobs.sync import SyncQueue  # noqa: PLC0415 - asynchronous programs never need it

        return SyncQueue(self)

    @overload
    def within(self, transaction: Connection | Session) -> Within: ...
    @overload
    def within(self, transaction: AsyncConnection | AsyncSession) -> AsyncWithin: ...
    def within(self, transaction: Any) -> Any:
        """Return the verbs that enqueue in a transaction of the caller's own, over SQLAlchemy.

        The jobs are there when it commits, and never were when it rolls back. The queue has to be
        in the same database (the database driver, SQLite or PostgreSQL). Push last, then commit:
        meanwhile the workers of the queue wait.

        :raises InvalidJob: the back-end is no such database.
        """
        from queued.jobs.within import within  # noqa: PLC0415 - few programs need it

        url = self._where()
        if self._join[0] != url:
            self._join = url, join_for(url)
        return within(url, self._join[1], transaction)

    async def push(
        self,
        job: Job,
        queue: str | None = None,
        delay: Delay = 0,
        id: str | None = None,  # noqa: A002 - the receipt's word
        *,
        at: datetime | None = None,
        unique_key: str | None = None,
        unique_for: Lasting = None,
    ) -> Receipt:
        """Enqueue a job, and return once the back-end has acknowledged it.

        :param queue: where to; None: the queue of its class, else ``default``.
        :param delay: how long to wait before it may run: seconds, ``"5m"`` or a timedelta.
        :param id: None for a new one; to push twice under one id enqueues one job.
        :param at: when it may run, instead of ``delay``; with a time zone.
        :param unique_key: no second job of that class, queue and key is enqueued until this one is
            done, has failed for good or is removed; None: as the class says.
        :param unique_for: for so long instead, whatever becomes of it; None: as the class says.
        :raises InvalidJob: a field is wrong; nothing was enqueued.
        :raises DriverUnavailable: the back-end cannot be reached; its ``ids`` name this job.
        """
        seconds = seconds_until(delay, at)
        return await self.send(pack(job, queue, seconds, id, unique_key, unique_for))

    async def later(
        self,
        delay: Delay | datetime,
        job: Job,
        queue: str | None = None,
        id: str | None = None,  # noqa: A002 - the receipt's word
        *,
        unique_key: str | None = None,
        unique_for: Lasting = None,
    ) -> Receipt:
        """Enqueue a job that may run after ``delay``, or at it. The rest is as for ``push``."""
        seconds = seconds_until(delay)
        return await self.push(
            job, queue, seconds, id, unique_key=unique_key, unique_for=unique_for
        )

    async def bulk(
        self,
        jobs: Iterable[Job],
        queue: str | None = None,
        delay: Delay = 0,
        ids: Sequence[str] | None = None,
        *,
        at: datetime | None = None,
    ) -> list[Receipt]:
        """Enqueue many jobs, a thousand in a round trip; return their receipts in order.

        All are validated before the first is sent. Each thousand for a queue (or 16 MiB, where
        the jobs are large) is enqueued whole or not at all.

        :param ids: one for each job, if you want to be able to repeat the call safely.
        :raises InvalidJob: a job is wrong; the message has its index. Nothing was enqueued.
        :raises DriverUnavailable: the back-end failed on the way; its ``ids`` name the jobs that
            were not acknowledged.
        """
        every = list(jobs)
        load = Load(queue, seconds_until(delay, at), len(every), ids)
        for start in range(0, len(every), MAX_BATCH):
            load.add(every[start : start + MAX_BATCH])
            await asyncio.sleep(0)  # a million jobs take seconds to encode
        return await self.send_all(load)

    async def size(self, queue: str = DEFAULT_QUEUE) -> int:
        """Return how many jobs wait: ready and scheduled.

        :raises DriverUnavailable: the back-end cannot be reached.
        """
        return (await self.stats(queue)).size

    async def stats(self, queue: str = DEFAULT_QUEUE) -> QueueStats:
        """Return a queue's counts by state and the age of its oldest jobs.

        :raises DriverUnavailable: the back-end cannot be reached.
        """
        name = checked_queue(queue)
        driver = await self._client().driver()
        return (await driver.stats([name]))[name]

    async def pause(
        self, queue: str = DEFAULT_QUEUE, *, reason: str = "", by: str | None = None
    ) -> bool:
        """Have no more of a queue's jobs started, on any host, until ``resume``.

        Those that run may finish, and jobs may be dispatched. ``stats`` says since when, by whom
        and why.

        :param by: None: this user at this host.
        :returns: whether it was not paused before. If it was, who and why are replaced.
        :raises DriverUnavailable: the back-end cannot be reached.
        """
        name, by = checked_queue(queue), who() if by is None else by
        driver = await self._client().driver()
        return await driver.pause(name, one_line(by), one_line(reason))

    async def resume(self, queue: str = DEFAULT_QUEUE) -> bool:
        """End a pause: idle workers start at once. Return whether there was one.

        :raises DriverUnavailable: the back-end cannot be reached.
        """
        driver = await self._client().driver()
        return await driver.resume(checked_queue(queue))

    async def batch(self, batch_id: str) -> Batch | None:
        """Return how far a batch is; None: there is none of that id, or it ended a week ago.

        :raises DriverUnavailable: the back-end cannot be reached.
        """
        return await (await self._client().driver()).batch(checked_id(batch_id))

    def client(self) -> Client:
        """Return the running loop's way to the back-end."""
        return self._client()

    async def close(self) -> None:
        """Close the running loop's connection, once what is on its way has been acknowledged."""
        client = self._clients.pop()
        if client is not None:
            await client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def send(self, parcel: Parcel) -> Receipt:
        """Enqueue one packed job, together with all others of this turn of the loop."""
        client = self._client()
        if not tracing.is_on():
            return Receipt.of(parcel.job.id, await client.enqueue(parcel.queue, parcel.job))
        from queued.jobs import spans  # noqa: PLC0415 - loads OpenTelemetry

        with spans.sending(client.url, parcel.queue, parcel.job) as job:
            return Receipt.of(job.id, await client.enqueue(parcel.queue, job))

    def send_blocking(self, parcel: Parcel) -> Receipt | None:
        """Enqueue one packed job in this thread; None: the driver needs an event loop for that."""
        enqueuer = self._blocking()
        if enqueuer is None:
            return None
        if not tracing.is_on():
            return send_blocking(enqueuer, parcel.queue, parcel.job)
        from queued.jobs import spans  # noqa: PLC0415 - as above

        with spans.sending(self._where(), parcel.queue, parcel.job) as job:
            return send_blocking(enqueuer, parcel.queue, job)

    def close_blocking(self) -> None:
        """Close the connections of ``send_blocking``; a later call opens them again."""
        _, enqueuer = self._enqueuer
        if enqueuer is not None:
            enqueuer.close()

    async def send_all(self, load: Load) -> list[Receipt]:
        """Enqueue packed jobs in batches."""
        client = self._client()
        if not (load.ids and tracing.is_on()):
            return await send_load(client, load)
        from queued.jobs import spans  # noqa: PLC0415 - as above

        with spans.sending_many(client.url, load.queues) as load.context:
            return await send_load(client, load)

    def _blocking(self) -> Enqueuer | None:
        url = self._where()
        known, enqueuer = self._enqueuer
        if url != known:
            self.close_blocking()
            enqueuer = enqueuer_for(url)
            self._enqueuer = url, enqueuer
        return enqueuer

    def _client(self) -> Client:
        return self._clients.current(self._where())

    def _where(self) -> str:
        url = self._instead or self._url or self._found
        if url is None:
            url, _ = find_connection(os.environ, Path.cwd())
            self._found = url
        return url


queue = Queue()
"""The producer of the program, used by ``dispatch``."""
_program = queue


@overload
async def dispatch(
    job: Job,
    *,
    queue: str | None = None,
    delay: Delay = 0,
    at: datetime | None = None,
    id: str | None = None,
    unique_key: str | None = None,
    unique_for: Lasting = None,
) -> Receipt: ...
@overload
async def dispatch(job: Work[Any, ReceiptT]) -> ReceiptT: ...
async def dispatch(job: Job | Work[Any, Any], **options: Any) -> Any:
    """Enqueue a job, a chain or a batch with the program's producer: see ``Queue.push``.

    The jobs of a chain or a batch say by themselves where they go: see ``Link``.
    """
    if isinstance(job, Work):
        job.refuse_options(*options)
        return await job.dispatch()
    return await _program.push(job, **options)
