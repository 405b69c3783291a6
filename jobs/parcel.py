"""Jobs made ready to be sent: validated, encoded, and told where they go and when.

In the thread that made them: the verbs of ``queue.sync`` send them from another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from queued.drivers.base import ID_PATTERN, QUEUE_PATTERN, NewJob, Unique
from queued.drivers.sequel import Parcel
from queued.errors import InvalidJob
from queued.jobs import payload
from queued.jobs.client import batches
from queued.jobs.ids import new_id, new_ids
from queued.jobs.job import Job
from queued.jobs.registry import DEFAULT_QUEUE
from queued.jobs.unique import Lasting, unique_of
from queued.units import LONGEST, parse_duration

if TYPE_CHECKING:
    from queued.jobs.trace_context import TraceContext

Delay = float | str | timedelta
"""Seconds, ``"5m"`` or a timedelta."""


class Load:
    """Many encoded jobs, in columns: of a tuple for each the garbage collector would see more."""

    def __init__(
        self, queue: str | None, seconds: float, count: int, ids: Sequence[str] | None
    ) -> None:
        if ids is not None and len(ids) != count:
            raise InvalidJob(f"bulk got {count} jobs and {len(ids)} ids")
        self._queue = queue
        self._given = ids
        self.delay = seconds
        self.context: TraceContext | None = None
        """What goes with each payload, in a program that traces."""
        self.queues: list[str] = []
        self.ids: list[str] = []
        self.payloads: list[bytes] = []
        self.uniques: dict[int, Unique] = {}
        """What jobs hold, by their numbers: mostly none does."""

    def add(self, jobs: Sequence[Job]) -> None:
        """Validate and encode the next jobs; an error names the index."""
        start = len(self.ids)
        ids = new_ids(len(jobs)) if self._given is None else self._given[start : start + len(jobs)]
        for number, (job, job_id) in enumerate(zip(jobs, ids, strict=True), start):
            try:
                encoded = payload.encode(job, self._queue)
                name = checked_queue(self._queue or job.queue or DEFAULT_QUEUE)
                if self._given is not None:
                    checked_id(job_id)
                if payload.signer is not None:
                    encoded = payload.signer.sign(encoded, name, job_id)
                self.payloads.append(encoded)
                self.queues.append(name)
                if type(job).unique_key is not None and (unique := unique_of(job)):
                    self.uniques[number] = unique
            except InvalidJob as error:
                raise type(error)(f"jobs[{number}]: {error}") from error.__cause__
        self.ids += ids

    def jobs(self, batch: Sequence[int]) -> list[NewJob]:
        """Return jobs as a driver takes them."""
        jobs = [NewJob(self.ids[n], self.payloads[n], self.delay) for n in batch]
        if self.uniques:
            jobs = [
                job._replace(unique=self.uniques.get(n)) for n, job in zip(batch, jobs, strict=True)
            ]
        return jobs if self.context is None else [self.context.in_job(job) for job in jobs]

    def batches(self) -> Iterator[tuple[str, Sequence[int]]]:
        """Yield the numbers of the jobs that go together, and their queue, queue by queue."""
        by_queue: dict[str, list[int]] = {}
        for number, name in enumerate(self.queues):
            by_queue.setdefault(name, []).append(number)
        for name, numbers in by_queue.items():
            for batch in batches(numbers, [len(self.payloads[number]) for number in numbers]):
                yield name, batch


def pack(  # noqa: PLR0917 - in the order of push
    job: Job,
    queue: str | None,
    seconds: float,
    job_id: str | None,
    unique_key: str | None = None,
    unique_for: Lasting = None,
) -> Parcel:
    """Validate and encode a job that may run in ``seconds``.

    :raises InvalidJob: a field, a name, the id or the key is wrong.
    """
    known = new_id() if job_id is None else checked_id(job_id)
    encoded = payload.encode(job, queue)
    name = checked_queue(queue or job.queue or DEFAULT_QUEUE)
    if payload.signer is not None:
        encoded = payload.signer.sign(encoded, name, known)
    if unique_key is None and unique_for is None and type(job).unique_key is None:
        return Parcel(name, NewJob(known, encoded, seconds))
    return Parcel(name, NewJob(known, encoded, seconds, unique_of(job, unique_key, unique_for)))


@lru_cache(maxsize=1_000)
def checked_queue(name: str) -> str:
    """Return a queue's name.

    :raises InvalidJob: it is none.
    """
    if not isinstance(name, str) or not QUEUE_PATTERN.fullmatch(name):
        raise InvalidJob(
            f"expected a queue's name of up to 64 letters, digits and _.:-, got {name!r}"
        )
    return name


def checked_id(job_id: str) -> str:
    """Return a job's id.

    :raises InvalidJob: it is none.
    """
    if not isinstance(job_id, str) or not ID_PATTERN.fullmatch(job_id):
        raise InvalidJob(f"expected an id of up to 64 letters, digits and _.:-, got {job_id!r}")
    return job_id


def seconds_until(delay: Delay | datetime, at: datetime | None = None) -> float:
    """Return how long to wait before a job may run. A moment that is over is no delay.

    :param at: the moment itself, by this host's clock; ``delay`` may also be one.
    :raises InvalidJob: the delay is none, the moment has no time zone, or both are given.
    """
    if at is not None and delay:
        raise InvalidJob("delay and at both say when the job may run: give one of them")
    if at is not None or isinstance(delay, datetime):
        return _until(delay if at is None else at)
    if not delay:
        return 0.0
    try:
        return parse_duration(delay.total_seconds() if isinstance(delay, timedelta) else delay)
    except ValueError as error:
        raise InvalidJob(f"delay: {error}") from None


def _until(at: object) -> float:
    if not isinstance(at, datetime):
        raise InvalidJob(f"at: expected a datetime with a time zone, got {type(at).__name__}")
    if at.utcoffset() is None:
        raise InvalidJob(
            f"at: {at.isoformat(sep=' ')} has no time zone, so it says no moment; use"
            " datetime.now(UTC) + ..., or datetime(..., tzinfo=ZoneInfo(...))"
        )
    seconds = (at - datetime.now(UTC)).total_seconds()
    if seconds > LONGEST:
        raise InvalidJob(f"at: {at.isoformat(sep=' ')} is more than a hundred years away")
    return max(seconds, 0.0)
