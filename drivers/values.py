"""The values that cross the ``Driver`` protocol; importable from ``queued.drivers.base`` too."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import NamedTuple

from queued.drivers.brakes import Paused
from queued.drivers.states import SUSPECT_FROM, Charge, State

LOOK_AHEAD = 100_000
"""Ready jobs among which one is looked for: it takes a back-end a few milliseconds."""
ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")
QUEUE_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")


class Unique(NamedTuple):
    """What a job holds in its queue, so that no other of that name is enqueued meanwhile.

    ``seconds``: for so long from now, whatever becomes of the job. None: until it is done, fails
    for good or is removed; a retry holds on to it.
    """

    name: str
    seconds: float | None = None


class NewJob(NamedTuple):
    """A job to enqueue: ready at once when ``delay`` (seconds) is 0, else scheduled."""

    id: str
    payload: bytes
    delay: float = 0.0
    unique: Unique | None = None
    """What it holds. One that follows another job holds nothing."""
    sequel: bytes = b""
    """What follows when the job ends (see ``sequel``); empty for nothing, as mostly."""


Enqueued = bool | str
"""What became of a job to enqueue. True: it is there. False: one of its id was there before.
A text: the id of the job that holds what this one wants to hold (``NewJob.unique``)."""


class Counts(NamedTuple):
    """What became of a job's earlier runs, each kind kept apart.

    ``tries`` is what ``max_tries`` limits: a deploy, a neighbour's crash or a lost host is in other
    counters and burns none.
    """

    errors: int = 0
    timeouts: int = 0
    crashes: int = 0
    lost: int = 0
    releases: int = 0
    suspicion: int = 0

    @property
    def tries(self) -> int:
        return self.errors + self.timeouts

    @property
    def runs(self) -> int:
        """How often the job was started before, whatever came of it."""
        return self.errors + self.timeouts + self.crashes + self.lost + self.releases

    def charged(self, charge: Charge) -> Counts:
        """Return the counts after one more run; the one place that says what a charge means.

        A run that ended by itself, by error or by timeout clears the suspicion; a crash alone makes
        the job a suspect at once; losing its worker beside others raises the suspicion by one.
        """
        match charge:
            case Charge.NONE:
                return self
            case Charge.ERROR:
                return self._replace(errors=self.errors + 1, suspicion=0)
            case Charge.TIMEOUT:
                return self._replace(timeouts=self.timeouts + 1, suspicion=0)
            case Charge.CRASH:
                suspicion = max(self.suspicion, SUSPECT_FROM)
                return self._replace(crashes=self.crashes + 1, suspicion=suspicion)
            case Charge.LOST:
                return self._replace(lost=self.lost + 1, suspicion=self.suspicion + 1)
            case Charge.RELEASE:
                return self._replace(releases=self.releases + 1)


NO_COUNTS = Counts()


class Reservation(NamedTuple):
    """A job held by an owner under a fence; times are the back-end's, in seconds."""

    id: str
    payload: bytes
    fence: int
    enqueued_at: float
    ready_at: float
    reserved_at: float
    counts: Counts = NO_COUNTS
    history: bytes = b""
    """The notes of earlier runs, one JSON object a line, oldest first; the newest 64 KiB."""


class Ack(NamedTuple):
    """reserved → done: the record leaves the back-end."""

    id: str
    fence: int


class Retry(NamedTuple):
    """reserved → scheduled (``delay`` seconds), or ready at the tail when it is 0."""

    id: str
    fence: int
    delay: float
    charge: Charge
    note: bytes = b""


class Release(NamedTuple):
    """reserved → ready at the head, with the ready time that it had."""

    id: str
    fence: int
    charge: Charge = Charge.RELEASE
    note: bytes = b""


class Fail(NamedTuple):
    """reserved → failed. ``record`` says why; payload, counts and history are kept beside it.

    ``hook`` is how many seconds from now the job's ``failed()`` becomes due for any worker to run
    (the worker that fails it runs it itself well before); None when there is none to run.
    """

    id: str
    fence: int
    charge: Charge
    record: bytes
    note: bytes = b""
    hook: float | None = None


Settlement = Ack | Retry | Release | Fail


class Exchange(NamedTuple):
    """What one exchange answers."""

    jobs: list[Reservation]
    lost: list[str]
    """Ids of settlements that named a reservation no longer held. They changed nothing."""
    next_due: float | None = None
    """Seconds until the earliest scheduled job is due; None when none is scheduled."""
    hooks_due: bool = False
    """Whether a ``failed()`` hook waits to be claimed."""
    suspects: bool = False
    """Whether jobs wait in the solo lane, and may be reserved."""
    outbox: bool = False
    """Whether something waits to be forwarded to other queues."""
    held_for: float | None = None
    """Seconds until a token of the rate limit is there, without which nothing is reserved; infinite
    while the queue is paused. None: nothing is held back."""

    @property
    def limited(self) -> bool:
        """Whether only the rate limit holds jobs back: time alone changes that."""
        return self.held_for is not None and self.held_for < math.inf

    @property
    def suspects_at_limit(self) -> bool:
        """Whether there are suspects that only wait for a token."""
        return self.suspects and self.limited


class Ticks(NamedTuple):
    """The schedules of one queue; ticks are whole seconds since the epoch."""

    now: float
    """The back-end's clock."""
    last: dict[str, int]
    """The last tick that was taken, by schedule."""


@dataclass(frozen=True, slots=True)
class QueueStats:
    """A sample of one queue. ``ready`` includes the suspects of the solo lane."""

    ready: int = 0
    scheduled: int = 0
    reserved: int = 0
    failed: int = 0
    suspects: int = 0
    enqueued_total: int = 0
    failed_last_hour: int = 0
    refused_total: int = 0
    """Jobs that were not enqueued because another held their unique key."""
    oldest_ready_age_seconds: float = 0.0
    oldest_reserved_age_seconds: float = 0.0
    outbox: int = 0
    """Messages of its chains and batches that wait to be forwarded to other queues."""
    limited_seconds: float = 0.0
    """Until the rate limit lets the next job be reserved, as those say who reserve; 0: it does."""
    paused: Paused | None = None
    """None: it is not."""

    @property
    def size(self) -> int:
        """What waits: ready and scheduled."""
        return self.ready + self.scheduled


@dataclass(frozen=True, slots=True)
class FailedJob:
    """A failed job as stored: its bytes, its record, and all that happened before."""

    id: str
    queue: str
    payload: bytes
    record: bytes
    failed_at: float
    enqueued_at: float
    counts: Counts = NO_COUNTS
    history: bytes = b""
    hook_pending: bool = False
    unique: str | None = None
    """The name that it held until it failed, and takes again when it is requeued."""
    sequel: bytes = b""
    """What follows it: see ``NewJob.sequel``."""


@dataclass(frozen=True, slots=True)
class JobInfo:
    """Where one job is now."""

    id: str
    queue: str
    state: State
    payload: bytes
    enqueued_at: float
    counts: Counts = NO_COUNTS
    history: bytes = b""
    ready_at: float | None = None
    due_at: float | None = None
    owner: str | None = None
    reserved_at: float | None = None
    failed: FailedJob | None = None
    unique: str | None = None
    """The name that it was enqueued to hold (``Unique.name``); a failed one has let go of it."""
    sequel: bytes = b""
