"""What chains and batches are made of: jobs on their way together, with what follows each.

``Work`` is what both can do, ``Link`` one job of theirs as it is written, ``Encoded`` a run of jobs
as it is stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Generic, NamedTuple, TypeVar

from queued.drivers.sequel import Member, Parcel, Place, Sequel
from queued.errors import InvalidJob
from queued.jobs import tracing
from queued.jobs.job import Job
from queued.jobs.parcel import Delay, pack, seconds_until

if TYPE_CHECKING:
    from queued.jobs.queue import Queue
    from queued.jobs.trace_context import TraceContext

EncodedT = TypeVar("EncodedT")
ReceiptT = TypeVar("ReceiptT")


@dataclass(frozen=True, slots=True)
class Link:
    """A job within a chain or a batch that goes elsewhere than its class says, or later.

    :param queue: where to; None: the queue of its class, else ``default``.
    :param delay: how long it waits once it is its turn: seconds, ``"5m"`` or a timedelta.
    :param id: None for a new one.
    """

    job: Job
    queue: str | None = None
    delay: Delay = 0
    id: str | None = None


class Encoded(NamedTuple):
    """The links of a chain, ready to be joined. A single job is a chain of one."""

    links: list[Parcel]
    catch: Parcel | None = None

    def first(self, context: TraceContext | None, member: Member | None = None) -> Parcel:
        """Return the first link, with all others in its sequel.

        :param context: goes with every job, in a program that traces.
        """
        of, catch = len(self.links), b""
        if self.catch is not None:
            catch = _in_context(self.catch, context).packed()
        following: Parcel | None = None
        for number in range(of, 0, -1):
            link = _in_context(self.links[number - 1], context)
            place = Place(self.links[0].job.id, number, of) if of > 1 else None
            then = following.packed() if following else b""
            if then or catch or member or place:
                sequel = Sequel(then, catch, member, place)
                link = Parcel(link.queue, link.job._replace(sequel=sequel.packed()))
            following = link
        assert following is not None
        return following

    @property
    def size(self) -> int:
        """Bytes of all payloads; that of ``catch`` goes with each link."""
        catch = len(self.catch.job.payload) if self.catch else 0
        return sum(len(link.job.payload) + catch for link in self.links)


class Work(Generic[EncodedT, ReceiptT]):
    """Several jobs that are dispatched together."""

    kind: ClassVar[str]
    """What people call it."""

    def encode(self) -> EncodedT:
        """Validate and encode every job, in the caller's own thread.

        :raises InvalidJob: one is wrong; the message says which.
        """
        raise NotImplementedError

    @staticmethod
    def refuse_options(*given: object) -> None:
        """Raise what is to be said to who dispatches several jobs with the options of one."""
        if given:
            raise InvalidJob(
                "the jobs of a chain or a batch say by themselves where they go and when:"
                " write Link(job, queue=..., delay=..., id=...)"
            )

    async def send(self, queue: Queue, encoded: EncodedT) -> ReceiptT:
        """Enqueue what ``encode`` returned.

        :raises DriverUnavailable: the back-end cannot be reached; its ``ids`` name the jobs.
        """
        raise NotImplementedError

    async def dispatch(self, queue: Queue | None = None) -> ReceiptT:
        """Dispatch it: all of it, or nothing.

        :param queue: the producer; None: the program's.
        :raises InvalidJob: a job is wrong; the message says which. Nothing was enqueued.
        :raises DriverUnavailable: the back-end cannot be reached; its ``ids`` name the jobs.
        """
        from queued.jobs.queue import queue as of_program  # noqa: PLC0415 - it imports this module

        via = queue or of_program
        return await self.send(via, self.encode())


def pack_link(link: Job | Link, where: str) -> Parcel:
    """Validate and encode one job.

    :param where: its place, as an error names it.
    :raises InvalidJob: it is wrong, or cannot be part of a chain or a batch.
    """
    one = link if isinstance(link, Link) else Link(link)
    try:
        if isinstance(one.job, Work):
            raise InvalidJob(  # noqa: TRY301
                f"a {one.job.kind} cannot stand here: dispatch it by itself, or from a job"
            )
        parcel = pack(one.job, one.queue, seconds_until(one.delay), one.id)
        if parcel.job.unique is not None:
            kind = type(one.job).__name__
            raise InvalidJob(  # noqa: TRY301
                f"{kind} has a unique_key, and what follows a job that is not enqueued would wait"
                " for ever: dispatch it by itself, or from a job"
            )
    except InvalidJob as error:
        raise placed(where, error) from error.__cause__
    return parcel


def placed(where: str, error: InvalidJob) -> InvalidJob:
    """Return an error that also says where."""
    return type(error)(f"{where}: {error}")


def check_ids(ids: Sequence[str], where: str) -> None:
    """Raise ``InvalidJob`` if an id is given twice."""
    if len(set(ids)) < len(ids):
        twice = next(one for one in ids if ids.count(one) > 1)
        raise InvalidJob(f"{where}: the id {twice!r} is given twice")


def _in_context(parcel: Parcel, context: TraceContext | None) -> Parcel:
    return parcel if context is None else Parcel(parcel.queue, context.in_job(parcel.job))


@contextmanager
def sending(url: str, queues: Sequence[str]) -> Iterator[TraceContext | None]:
    """Have a span around jobs' way to the back-end, in a program that traces."""
    if not tracing.is_on():
        yield None
        return
    from queued.jobs import spans  # noqa: PLC0415 - loads OpenTelemetry

    with spans.sending_many(url, queues) as context:
        yield context
