"""What a child is told when it is made: plain values that cross a fork as JSON.

A spec holds everything that a worker or the monitor needs of queue.yaml, so no child reads the
file, and two generations of a configuration run side by side while a reload replaces one.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from queued.drivers.brakes import RateLimit
from queued.drivers.states import Lane
from queued.policy import Policy


def worker_name(pool: str, index: int, lane: Lane = Lane.NORMAL) -> str:
    """Return what people read: ``emails/2``; ``emails/solo`` for the temporary worker."""
    return f"{pool}/{'solo' if lane is Lane.SOLO else index}"


@dataclass(frozen=True, slots=True)
class OwnerName:
    """The parts of an owner's name: one incarnation of one worker process.

    ``<install>-<boot>-<pool>.<index>-<generation>``; install and boot are 8 hex digits each.
    """

    install: str
    boot: str
    pool: str
    index: int
    generation: int

    def __str__(self) -> str:
        return f"{self.install}-{self.boot}-{self.pool}.{self.index}-{self.generation}"

    @property
    def worker(self) -> str:
        return worker_name(self.pool, self.index)

    @classmethod
    def parse(cls, owner: str) -> Self:
        """Take an owner's name apart.

        :raises ValueError: it is none of ours.
        """
        install, boot, rest = owner.split("-", 2)
        rest, _, generation = rest.rpartition("-")
        pool, _, index = rest.rpartition(".")
        return cls(install, boot, pool, int(index), int(generation))


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsSpec:
    """What one level (queue or flags) says of tries and times; None: it says nothing."""

    max_tries: int | None = None
    timeout: float | None = None
    """Seconds; 0 means no timeout."""
    retry_after: float | None = None
    """Seconds."""
    backoff: Any = None
    """As queue.yaml has it: seconds, a list of seconds, or ``{base, factor, cap, jitter}``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSpec:
    """How a process logs."""

    level: str = "info"
    format: str = "auto"
    jobs: str = "failures"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpec:
    """One incarnation of a worker. Times are seconds, sizes bytes, None means no limit."""

    owner: str
    pool: str
    """Also the queue: a pool serves the queue of its name."""
    index: int
    generation: int
    """Counts incarnations: no two workers of one master have the same."""
    url: str
    lane: Lane = Lane.NORMAL
    standalone: bool = False
    """``queued work``: no master; it renews its own lease and runs the janitor."""
    concurrency: int = 10
    sleep: float = 3.0
    polling: bool = False
    limits: LimitsSpec = field(default_factory=LimitsSpec)
    """What the queue says (defaults merged)."""
    flags: LimitsSpec = field(default_factory=LimitsSpec)
    """What explicit flags of ``queued work`` say: they win over the job class."""
    max_jobs: int | None = None
    max_time: float | None = None
    max_memory: int | None = None
    slow_after: float | None = None
    rate_limit: RateLimit | None = None
    """Of the queue, over all workers on all hosts."""
    kill_grace: float = 5.0
    shutdown_grace: float = 30.0
    nice: int = 0
    env: dict[str, str] = field(default_factory=dict)
    log: LogSpec = field(default_factory=LogSpec)
    tracing: str = ""
    """``module:function``: what makes a worker trace; empty: nothing does."""
    policy: Policy | None = field(default=None, repr=False)
    """What holds for payloads; None: what the process finds by itself."""

    @property
    def solo(self) -> bool:
        """A temporary worker for suspects: one job at a time, gone when the lane is empty."""
        return self.lane is Lane.SOLO

    @property
    def worker(self) -> str:
        return worker_name(self.pool, self.index, self.lane)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        values = json.loads(text)
        values["lane"] = Lane(values["lane"])
        values["limits"] = LimitsSpec(**values["limits"])
        values["flags"] = LimitsSpec(**values["flags"])
        values["policy"] = _policy(values["policy"])
        values["log"] = LogSpec(**values["log"])
        if values["rate_limit"] is not None:
            values["rate_limit"] = RateLimit(*values["rate_limit"])
        return cls(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSpec:
    """What the monitor must know of one queue."""

    max_wait: float | None = None
    """The objective in seconds for the oldest ready job; None: no objective."""
    max_failure_rate: float | None = None
    """The objective for the share of runs that fail, 0 to 1; None: no objective."""
    retain_failed: float | None = None
    """Seconds for which failed jobs are kept; None: for ever."""


NO_OBJECTIVES = QueueSpec()
"""Those of a pool that only empties: queue.yaml has it no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSpec:
    """A job that is dispatched at each tick of ``cron``, else every ``every`` seconds."""

    job: str
    """The wire name of its class."""
    queue: str
    args: dict[str, Any] = field(default_factory=dict)
    cron: str | None = None
    every: float | None = None
    timezone: str = "UTC"
    catch_up: bool = False
    """The last tick that was missed is run late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSpec:
    """Where alerts are posted. URL and secret are never shown."""

    url: str = field(repr=False)
    secret: str | None = field(default=None, repr=False)
    """``whsec_...``; None: messages are not signed."""
    format: str = "json"
    timeout: float = 10.0
    """Seconds that one post may take, all in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorSpec:
    """The monitor: it samples, reclaims and serves HTTP on the listener that it inherits."""

    install: str
    boot: str
    url: str
    queues: dict[str, QueueSpec] = field(default_factory=dict)
    schedules: dict[str, ScheduleSpec] = field(default_factory=dict)
    http_token: str | None = None
    http_listen: str | None = None
    """``host:port`` as bound (the port is real even where queue.yaml said 0); None: no HTTP."""
    lease: float = 30.0
    note_every: float = 5.0
    """Seconds between two looks at what the queues did lately."""
    webhook: WebhookSpec | None = None
    episodes: str | None = None
    """The file in which alerts outlive a monitor; None: they do not."""
    steadiness: float = 1.0
    """What the times are multiplied by for which something must be bad, or good, to be said."""
    log: LogSpec = field(default_factory=LogSpec)
    policy: Policy | None = field(default=None, repr=False)
    """As a worker's."""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        values = json.loads(text)
        values["policy"] = _policy(values["policy"])
        values["queues"] = {name: QueueSpec(**queue) for name, queue in values["queues"].items()}
        values["schedules"] = {
            name: ScheduleSpec(**one) for name, one in values["schedules"].items()
        }
        if values["webhook"] is not None:
            values["webhook"] = WebhookSpec(**values["webhook"])
        values["log"] = LogSpec(**values["log"])
        return cls(**values)


def _policy(values: dict[str, Any] | None) -> Policy | None:
    return None if values is None else Policy.from_plain(values)
