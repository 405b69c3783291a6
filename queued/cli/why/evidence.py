"""What is known of a job or a queue that somebody asks about: of its daemon, and of the back-end.

Either may be away; then the rest is still worth having, and what could not be asked is said.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from queued.cli import backend
from queued.cli.daemon import request
from queued.cli.failures import NotRunning, Refused
from queued.cli.options import find_url, load_config
from queued.cli.watch.reading import Reading
from queued.daemon.monitor.unserved import living
from queued.daemon.spec import OwnerName
from queued.drivers.base import Driver, JobInfo, QueueStats, State
from queued.drivers.states import SUSPECT_FROM
from queued.environment import redact
from queued.errors import ConfigError, ControlError, DriverError, DriverUnavailable

PATIENCE = 5.0
"""Seconds in which a daemon must answer."""
ASKING = "why"
"""The owner in whose name a queue is looked at: it is never registered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """What the daemon says of itself."""

    config: Path
    reading: Reading | None = None
    """None: it does not run, or could not be asked."""
    error: str = ""
    """Why it could not be asked; it may run."""
    served: tuple[str, ...] = ()
    """The queues that have a pool, or would have one if it ran."""

    @property
    def absent(self) -> bool:
        """Whether it is known that none runs."""
        return self.reading is None and not self.error

    @property
    def workers(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Every worker, with its pool."""
        pools = self.reading.status["pools"] if self.reading else {}
        return ((name, worker) for name, pool in pools.items() for worker in pool["workers"])

    def has_owner(self, owner: str) -> bool:
        """Whether an owner is of this daemon or of an earlier life of it."""
        install = self.reading.status.get("install") if self.reading else None
        return owner.startswith(f"{install}-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What the back-end says. ``error`` says why it says nothing."""

    connection: str
    """Its URL without a password."""
    error: str = ""
    missing: bool = False
    """There is no database yet: nothing was ever enqueued."""
    queues: tuple[str, ...] = ()
    stats: QueueStats = field(default_factory=QueueStats)
    owners: Mapping[str, float] = field(default_factory=dict)
    """Who may hold jobs of the queue, with the seconds left of their leases."""
    next_due: float | None = None
    """Seconds until the queue's next scheduled job is due."""
    refuses: str = ""
    """It answers, but takes no writes."""
    info: JobInfo | None = None
    ahead: int | None = None
    """Ready jobs before this one; None: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that is known."""

    target: str
    queue: str | None
    """The queue that is asked about, or that the job is in; None: not known."""
    is_job: bool
    daemon: Daemon
    stored: Stored
    now: float

    @property
    def same_backend(self) -> bool:
        """Whether the daemon works on the back-end that was asked."""
        reading = self.daemon.reading
        return reading is not None and reading.status["connection"] == self.stored.connection

    @property
    def status(self) -> Mapping[str, Any] | None:
        """What the daemon says, if that has to do with it."""
        return self.daemon.reading.status if self.daemon.reading and self.same_backend else None

    @property
    def pool(self) -> Mapping[str, Any] | None:
        """The pool of the queue in the running daemon."""
        pools = self.status["pools"] if self.status else {}
        found: Mapping[str, Any] | None = pools.get(self.queue)
        return found

    @property
    def info(self) -> JobInfo | None:
        return self.stored.info

    @property
    def suspect(self) -> bool:
        """Whether it is about a job that runs alone only."""
        return self.info is not None and self.info.counts.suspicion >= SUSPECT_FROM

    @property
    def waits(self) -> bool:
        """Whether something is ready, or due, and does not run."""
        info = self.info
        if self.is_job:
            due = info is not None and info.due_at is not None and info.due_at <= self.now
            return due or (info is not None and info.state is State.READY)
        return self.stored.stats.ready > 0

    def jobs_of(self, *, solo: bool) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
        """Return the queue's running jobs, each with its worker, the longest first."""
        found = [
            (job, worker)
            for pool, worker in self.daemon.workers
            if self.same_backend and pool == self.queue and bool(worker.get("solo")) is solo
            for job in worker.get("jobs", ())
        ]
        return sorted(found, key=lambda one: -float(one[0]["seconds"]))

    @property
    def elsewhere(self) -> int:
        """How many living owners of the queue are none of this daemon's; 0 if that is not known."""
        if self.daemon.error:
            return 0
        return sum(not self.daemon.has_owner(owner) for owner in living(self.stored.owners))


def gather(target: str, queue: str | None, config: Path, connection: str | None) -> Evidence:
    """Ask the daemon and the back-end.

    :param queue: the queue in which ``target`` is a job; None: it may be a queue itself.
    :raises ConfigError: nothing says which back-end is meant.
    """
    url = find_url(config, connection)
    daemon = _ask_daemon(config, connection)
    stored = _ask_backend(url, target, queue, daemon.served)
    is_queue = queue is None and target in {*daemon.served, *stored.queues}
    running = next((pool for pool, worker in daemon.workers if _runs(worker, target)), None)
    where = target if is_queue else queue or (stored.info.queue if stored.info else running)
    return Evidence(
        target=target,
        queue=where,
        is_job=not is_queue,
        daemon=daemon,
        stored=stored,
        now=time.time(),
    )


def _runs(worker: Mapping[str, Any], job_id: str) -> bool:
    return any(job["id"] == job_id for job in worker.get("jobs", ()))


def _ask_daemon(config: Path, connection: str | None) -> Daemon:
    try:
        reading = Reading(request(config, "status", timeout=PATIENCE))
    except NotRunning:
        return Daemon(config=config, served=would_serve(config, connection))
    except ControlError as error:
        return Daemon(config=config, error=str(error), served=would_serve(config, connection))
    return Daemon(config=config, reading=reading, served=tuple(reading.status["pools"]))


def would_serve(config: Path, connection: str | None) -> tuple[str, ...]:
    """Return the queues of queue.yaml; none if it cannot be read, which `queued check` explains."""
    try:
        return tuple(load_config(config, connection).config.queues)
    except ConfigError:
        return ()


def _ask_backend(url: str, target: str, queue: str | None, served: tuple[str, ...]) -> Stored:
    stored = Stored(connection=redact(url))
    try:
        return backend.ask(url, lambda driver: _look(driver, stored, target, queue, served))
    except Refused as error:
        return replace(stored, error=str(error), missing=True)
    except DriverUnavailable as error:
        return replace(stored, error=str(error))


async def _look(
    driver: Driver, stored: Stored, target: str, queue: str | None, served: tuple[str, ...]
) -> Stored:
    queues = tuple(await driver.queues())
    stored = replace(stored, queues=queues)
    if queue is None and target in {*queues, *served}:
        return await _look_at_queue(driver, stored, target)
    info = await driver.find(target, queue)
    if info is None:
        return stored
    stored = await _look_at_queue(driver, stored, info.queue)
    ahead = await driver.ahead(info.queue, info.id) if info.state is State.READY else None
    return replace(stored, info=info, ahead=ahead)


async def _look_at_queue(driver: Driver, stored: Stored, queue: str) -> Stored:
    stats = (await driver.stats([queue]))[queue]
    stored = replace(stored, stats=stats, owners=await driver.owners(queue))
    try:  # with nothing wanted it only looks, but as a write: a full disk shows
        seen = await driver.exchange(queue, ASKING)
    except DriverError as error:
        return replace(stored, refuses=str(error))
    return replace(stored, next_due=seen.next_due)


def worker_of(owner: str) -> str:
    """Return an owner as people know it: ``emails/2``."""
    try:
        return OwnerName.parse(owner).worker
    except ValueError:
        return owner
