"""``queue.within(...)``: jobs that are dispatched by a transaction of the caller's own database.

    with Session(engine) as session, session.begin():
        session.add(order)
        session.flush()
        queue.within(session).push(SendReceipt(order_id=order.id))

A job is there when the transaction commits, and never was when it rolls back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from queued.drivers.base import Enqueued, NewJob
from queued.errors import InvalidJob
from queued.jobs import tracing
from queued.jobs.job import Job
from queued.jobs.parcel import Delay, Load, pack, seconds_until
from queued.jobs.receipt import Receipt
from queued.jobs.unique import Lasting

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
    from sqlalchemy.orm import Session

    from queued.drivers.sql.joined import Join

T = TypeVar("T")


class Within:
    """``push``, ``later`` and ``bulk`` over a ``Connection`` or ``Session``.

    From the first job to its end the transaction holds the queue's lock: push last, then commit.
    """

    def __init__(self, url: str, join: Join, given: Connection | Session) -> None:
        self._url = url
        self._join = join
        self._given = given

    def push(
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
        """Enqueue a job: see ``Queue.push``. The receipt holds if the transaction commits.

        :raises DriverError: the connection is to another database than the queue's.
        """
        parcel = pack(job, queue, seconds_until(delay, at), id, unique_key, unique_for)
        with _span(self._url, parcel.queue, parcel.job) as new:
            [answer] = self._enqueue(parcel.queue, [new])
        return Receipt.of(new.id, answer)

    def later(
        self,
        delay: Delay | datetime,
        job: Job,
        queue: str | None = None,
        id: str | None = None,  # noqa: A002 - the receipt's word
        *,
        unique_key: str | None = None,
        unique_for: Lasting = None,
    ) -> Receipt:
        """Enqueue a job that may run after ``delay``, or at it: see ``Queue.later``."""
        seconds = seconds_until(delay)
        return self.push(job, queue, seconds, id, unique_key=unique_key, unique_for=unique_for)

    def bulk(
        self,
        jobs: Iterable[Job],
        queue: str | None = None,
        delay: Delay = 0,
        ids: Sequence[str] | None = None,
        *,
        at: datetime | None = None,
    ) -> list[Receipt]:
        """Enqueue many jobs, all of them or none: see ``Queue.bulk``."""
        every = list(jobs)
        load = Load(queue, seconds_until(delay, at), len(every), ids)
        load.add(every)
        if load.ids and tracing.is_on():
            from queued.jobs import spans  # noqa: PLC0415 - loads OpenTelemetry

            with spans.sending_many(self._url, load.queues) as load.context:
                return self._send(load)
        return self._send(load)

    def _send(self, load: Load) -> list[Receipt]:
        answers: dict[int, Enqueued] = {}
        # Queues in one order, so that two transactions do not wait for each other crosswise.
        for name, batch in sorted(load.batches(), key=lambda one: one[0]):
            answers.update(zip(batch, self._enqueue(name, load.jobs(batch)), strict=True))
        return [Receipt.of(job_id, answers[number]) for number, job_id in enumerate(load.ids)]

    def _enqueue(self, queue: str, jobs: Sequence[NewJob]) -> list[Enqueued]:
        given: Any = self._given
        connection = given.connection() if hasattr(given, "get_bind") else given
        return self._join.enqueue(connection, queue, jobs)


class AsyncWithin:
    """The verbs of ``Within`` over an ``AsyncConnection`` or ``AsyncSession``, to be awaited."""

    def __init__(self, url: str, join: Join, given: AsyncConnection | AsyncSession) -> None:
        self._url = url
        self._join = join
        self._given = given

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
        """Enqueue a job: see ``Within.push``."""
        unique: dict[str, Any] = {"unique_key": unique_key, "unique_for": unique_for}
        return await self._run(lambda within: within.push(job, queue, delay, id, at=at, **unique))

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
        """Enqueue a job that may run after ``delay``, or at it: see ``Queue.later``."""
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
        """Enqueue many jobs, all of them or none: see ``Queue.bulk``."""
        every = list(jobs)
        return await self._run(lambda within: within.bulk(every, queue, delay, ids, at=at))

    async def _run(self, verb: Callable[[Within], T]) -> T:
        return await self._given.run_sync(lambda given: verb(Within(self._url, self._join, given)))


def within(url: str, join: Join | None, given: Any) -> Within | AsyncWithin:
    """Return the verbs over a connection or session of SQLAlchemy's.

    :param join: of the driver of ``url``; None: it cannot be joined.
    :raises InvalidJob: the back-end is none that a transaction can hold, or ``given`` is something
        else.
    """
    if join is None:
        scheme = url.partition(":")[0]
        raise InvalidJob(
            f"queue.within() needs a queue in a database, and this one is in {scheme}://, which no"
            " transaction of a database holds: push after the commit, or connect the queue to"
            " sqlite:/// or postgresql://"
        )
    is_async = hasattr(given, "run_sync")
    if not is_async and not (hasattr(given, "execute") and hasattr(given, "in_transaction")):
        raise InvalidJob(
            "queue.within() takes a Connection, Session, AsyncConnection or AsyncSession of"
            f" SQLAlchemy, got {type(given).__name__}"
        )
    return AsyncWithin(url, join, given) if is_async else Within(url, join, given)


@contextmanager
def _span(url: str, queue: str, job: NewJob) -> Iterator[NewJob]:
    if not tracing.is_on():
        yield job
        return
    from queued.jobs import spans  # noqa: PLC0415 - loads OpenTelemetry

    with spans.sending(url, queue, job) as traced:
        yield traced
