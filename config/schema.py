"""What queue.yaml may say. Units are seconds and bytes; every default stands here.

The docstrings and descriptions are what editors show.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from queued.config import endpoint, validators
from queued.config.rates import OptionalRate
from queued.config.types import (
    Backoff,
    Duration,
    EnvironmentText,
    Flag,
    Interval,
    OptionalCount,
    OptionalDuration,
    OptionalShare,
    OptionalSize,
    PayloadSize,
    Processes,
    Text,
    Timeout,
    Whole,
    parse_address,
)
from queued.environment import DEFAULT_CONNECTION
from queued.jobs.registry import DEFAULT_QUEUE


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Http(_Section):
    """Where /metrics, /healthz, /readyz and the dashboard are served."""

    listen: Annotated[Text, BeforeValidator(validators.address)] = Field(
        default="127.0.0.1:9470",
        description="host:port; port 0 takes a free one. Beyond loopback a token is needed.",
    )
    token: Text | None = Field(
        default=None,
        repr=False,
        min_length=1,
        description="What clients must send as 'Authorization: Bearer ...'.",
    )

    @property
    def host(self) -> str:
        return parse_address(self.listen)[0]

    @property
    def port(self) -> int:
        return parse_address(self.listen)[1]

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback


class Log(_Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least that is logged."
    )
    format: Literal["auto", "console", "json"] = Field(
        default="auto", description="auto: colours on a terminal, a JSON object a line otherwise."
    )
    jobs: Literal["failures", "all"] = Field(
        default="failures",
        description="all: a line for each success too; it halves the throughput.",
    )


class Webhook(_Section):
    """Where alerts are posted: once when an episode begins, once when it is over."""

    url: Annotated[Text, AfterValidator(endpoint.check_url)] | None = Field(
        default=None, repr=False, description="http:// or https://; empty: nothing is posted."
    )
    secret: Annotated[Text, AfterValidator(endpoint.check_secret)] | None = Field(
        default=None,
        repr=False,
        description="Signs each message: whsec_ and 24 to 64 random bytes in base64.",
    )
    format: Literal["json", "slack"] = Field(
        default="json", description="slack: a text, as Slack, Mattermost and others take it."
    )
    timeout: Duration = Field(
        default=10.0, ge=0.1, le=60, description="How long one post may take, all in all."
    )


class Keys(_Section):
    """Where keys are: for encryption, or for signing."""

    keys_file: Text | None = Field(
        default=None,
        description="A file with a key a line, the first of which makes; a relative name starts in"
        " $CREDENTIALS_DIRECTORY, or at this file's folder.",
    )


Section = BeforeValidator(validators.nothing_is_empty)
QueueName = Annotated[str, AfterValidator(validators.queue_name)]
ScheduleName = Annotated[str, AfterValidator(validators.schedule_name)]


class QueueConfig(_Section):
    """One queue and its pool of workers."""

    processes: Processes = Field(
        default=1,
        description="Worker processes: a number (0 parks the queue), or {min, max} to follow the"
        " wait of the oldest job.",
    )
    concurrency: Whole = Field(
        default=10, ge=1, le=1_000, description="Jobs that one worker runs at a time."
    )
    sleep: Duration = Field(
        default=3.0,
        description="The longest that an idle worker waits before it looks for jobs again.",
    )
    timeout: Timeout = Field(
        default=60.0, description="The longest that a job may run; 0 or none: for ever."
    )
    max_tries: Whole = Field(
        default=3,
        ge=1,
        description="How often a job is run before it fails, the first run included.",
    )
    retry_after: Duration = Field(
        default=0.0, description="The wait before a job is run again; backoff wins over it."
    )
    backoff: Backoff | None = Field(
        default=None,
        description="Waits before the next runs: one, a list, or {base, factor, cap, jitter}.",
    )
    max_jobs: OptionalCount = Field(
        default=None, description="A worker is replaced after so many jobs."
    )
    max_time: OptionalDuration = Field(
        default=None, description="A worker is replaced after this time."
    )
    max_memory: OptionalSize = Field(
        default=None, description="A worker that holds more is replaced between jobs."
    )
    max_payload: PayloadSize | None = Field(
        default=None, description="The largest job that is taken, as stored; 1MiB by default."
    )
    max_wait: OptionalDuration = Field(
        default=None, description="The objective: no job should wait longer before it runs."
    )
    slow_after: OptionalDuration = Field(
        default=None, description="A run that takes longer is logged, with where its code stands."
    )
    rate_limit: OptionalRate = Field(
        default=None,
        description="No more jobs are started, over all workers on all hosts: 100/1m, or"
        " {jobs, per, burst}.",
    )
    max_failure_rate: OptionalShare = Field(
        default=None,
        description="The objective: no more of the runs of five minutes should fail, as in 5%.",
    )
    retain_failed: OptionalDuration = Field(
        default=None, description="Failed jobs are removed after this time; none: never."
    )
    kill_grace: Duration = Field(
        default=5.0,
        description="What the neighbours of a job that cannot be cancelled get before the kill.",
    )
    polling: Flag = Field(
        default=False, description="Look every `sleep` seconds only; a push wakes no worker."
    )
    nice: Whole = Field(
        default=0, ge=-20, le=19, description="The niceness of the workers; 19 yields to all."
    )
    env: Annotated[
        dict[
            Annotated[str, AfterValidator(validators.variable)],
            Annotated[EnvironmentText, AfterValidator(validators.variable_value)],
        ],
        Section,
    ] = Field(default_factory=dict, repr=False, description="Environment variables of the workers.")


class Schedule(_Section):
    """A job that is dispatched by the clock, once over all hosts."""

    job: Annotated[Text, BeforeValidator(validators.job_name)] = Field(
        description="Its class, as queued check names it, such as app.jobs.Cleanup."
    )
    cron: Annotated[Text, AfterValidator(validators.cron)] | None = Field(
        default=None, description="Minute, hour, day of the month, month, day of the week."
    )
    every: Interval = Field(
        default=None, description="Instead of cron: an interval, counted from midnight UTC."
    )
    timezone: Annotated[Text, AfterValidator(validators.time_zone)] = Field(
        default="UTC", description="Where cron's clock hangs, such as Europe/Paris."
    )
    args: Annotated[dict[Text, Any], Section, AfterValidator(validators.plain_values)] = Field(
        default_factory=dict, repr=False, description="The fields of the job."
    )
    queue: Annotated[Text, AfterValidator(validators.queue_name)] = Field(
        default=DEFAULT_QUEUE, description="Where the job goes, whatever its class says."
    )
    catch_up: Flag = Field(
        default=False,
        description="If ticks were missed while everything was down, one of them is run late.",
    )


class Config(_Section):
    """The whole of queue.yaml."""

    connection: Text = Field(
        default=DEFAULT_CONNECTION,
        repr=False,
        description="The back-end's URL; a relative path of SQLite starts at this file's folder.",
    )
    imports: Annotated[
        list[Annotated[Text, BeforeValidator(validators.module)]],
        BeforeValidator(lambda value: [] if value is None else value),
    ] = Field(default_factory=list, description="Modules or packages with the Job classes.")
    http: Annotated[Http | None, BeforeValidator(validators.http_off)] = Field(
        default_factory=Http, description="The HTTP server; false: none."
    )
    log: Annotated[Log, Section] = Field(default_factory=Log, description="Logging.")
    webhook: Webhook | None = Field(
        default=None, description="Where alerts are posted; without it they are only logged."
    )
    encryption: Annotated[Keys, Section] = Field(
        default_factory=Keys, description="The keys for jobs with encrypt = True."
    )
    signing: Annotated[Keys, Section] = Field(
        default_factory=Keys,
        description="The keys that sign all jobs; with one, no other job is run.",
    )
    tracing: Annotated[Text, BeforeValidator(validators.function)] | None = Field(
        default=None,
        description="A function such as app.telemetry.setup, called in each worker when it starts:"
        " it gives OpenTelemetry its TracerProvider.",
    )
    shutdown_grace: Duration = Field(
        default=30.0, description="What running jobs get to finish when the daemon stops."
    )
    user: Annotated[Text, BeforeValidator(validators.user)] | None = Field(
        default=None,
        description="Whom the daemon becomes when root starts it: a user, or user:group.",
    )
    schedule: Annotated[
        dict[Annotated[str, AfterValidator(validators.schedule_name)], Schedule], Section
    ] = Field(default_factory=dict, description="Jobs that are dispatched by the clock, by name.")
    defaults: Annotated[QueueConfig, Section] = Field(
        default_factory=QueueConfig, description="What holds for each queue that says nothing."
    )
    queues: dict[
        Annotated[str, AfterValidator(validators.queue_name)], Annotated[QueueConfig, Section]
    ] = Field(
        min_length=1,
        description="The queues that this daemon serves, each with a pool of its own.",
    )

    @property
    def tracing_function(self) -> str:
        """``module:function`` of ``tracing``; empty: workers do not trace."""
        module, _, function = (self.tracing or "").rpartition(".")
        return f"{module}:{function}" if module else ""

    @property
    def code(self) -> list[str]:
        """What workers import: see ``queued.jobs.imports.load``."""
        return [*self.imports, *filter(None, [self.tracing_function])]
