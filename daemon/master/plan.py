"""What a configuration asks the master to run, and how two of them differ.

A plan is queue.yaml in the master's own terms: a blueprint for every child. Comparing blueprints is
all that a reload does: a pool whose blueprint is the same keeps its processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

from queued.config.load import LoadedConfig
from queued.config.schema import Http, QueueConfig, Schedule, Webhook
from queued.config.types import Range
from queued.daemon.master.scaling import Bounds
from queued.daemon.master.template_process import Code
from queued.daemon.spec import (
    LimitsSpec,
    LogSpec,
    MonitorSpec,
    QueueSpec,
    ScheduleSpec,
    WebhookSpec,
    WorkerSpec,
)
from queued.policy import Policy


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """One pool: how many workers, and what each is made from (``owner`` and such are filled in)."""

    processes: int
    """How many to begin with."""
    blueprint: WorkerSpec
    bounds: Bounds | None = None
    """Between what it is scaled; None: it is not."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that one configuration asks for."""

    code: Code
    log: LogSpec
    grace: float
    """Seconds that running jobs get when the daemon stops."""
    http: Http | None
    pools: dict[str, PoolPlan]
    monitor: MonitorSpec
    """``http_listen`` is as queue.yaml has it, not as bound."""


def plan(loaded: LoadedConfig, install: str, boot: str, episodes: str | None = None) -> Plan:
    """Translate a configuration.

    :param episodes: the file in which alerts outlive a monitor.
    """
    config = loaded.config
    log = LogSpec(level=config.log.level, format=config.log.format, jobs=config.log.jobs)
    return Plan(
        code=Code(tuple(config.code), loaded.folder, config.connection),
        log=log,
        grace=config.shutdown_grace,
        http=config.http,
        pools={
            name: _pool(queue.processes, _blueprint(name, queue, loaded, log))
            for name, queue in config.queues.items()
        },
        monitor=MonitorSpec(
            install=install,
            boot=boot,
            url=config.connection,
            queues={
                name: QueueSpec(
                    max_wait=one.max_wait,
                    max_failure_rate=one.max_failure_rate,
                    retain_failed=one.retain_failed,
                )
                for name, one in config.queues.items()
            },
            schedules={name: schedule_of(one) for name, one in config.schedule.items()},
            http_token=config.http.token if config.http else None,
            http_listen=config.http.listen if config.http else None,
            webhook=webhook_of(config.webhook),
            episodes=episodes,
            log=log,
            policy=loaded.policy,
        ),
    )


def schedule_of(schedule: Schedule) -> ScheduleSpec:
    return ScheduleSpec(
        job=schedule.job,
        queue=schedule.queue,
        args=schedule.args,
        cron=schedule.cron,
        every=schedule.every,
        timezone=schedule.timezone,
        catch_up=schedule.catch_up,
    )


def webhook_of(webhook: Webhook | None) -> WebhookSpec | None:
    """Return where alerts are posted; None: nowhere."""
    if webhook is None or not webhook.url:
        return None
    return WebhookSpec(
        url=webhook.url,
        secret=webhook.secret or None,
        format=webhook.format,
        timeout=webhook.timeout,
    )


def _pool(processes: int | Range, blueprint: WorkerSpec) -> PoolPlan:
    if isinstance(processes, int):
        return PoolPlan(processes, blueprint)
    bounds = Bounds(processes.min, processes.max, processes.cooldown)
    return PoolPlan(processes.min, blueprint, bounds)


def _blueprint(name: str, queue: QueueConfig, loaded: LoadedConfig, log: LogSpec) -> WorkerSpec:
    config = loaded.config
    return WorkerSpec(
        owner="",
        pool=name,
        index=0,
        generation=0,
        url=config.connection,
        concurrency=queue.concurrency,
        sleep=queue.sleep,
        polling=queue.polling,
        limits=LimitsSpec(
            max_tries=queue.max_tries,
            timeout=queue.timeout,
            retry_after=queue.retry_after,
            backoff=queue.backoff,
        ),
        max_jobs=queue.max_jobs,
        max_time=queue.max_time,
        max_memory=queue.max_memory,
        slow_after=queue.slow_after,
        rate_limit=queue.rate_limit,
        kill_grace=queue.kill_grace,
        shutdown_grace=config.shutdown_grace,
        nice=queue.nice,
        env=dict(queue.env),
        log=log,
        tracing=config.tracing_function,
        policy=loaded.policy,
    )


def changes(old: Plan, new: Plan) -> list[str]:
    """Say how two plans differ, one line each, as people read it; no line: not at all.

    No value is shown that may be a secret.
    """
    lines = []
    if old.code.url != new.code.url:
        lines.append("connection: changed; every process is replaced")
    if old.code.imports != new.code.imports:
        lines.append(f"imports: {', '.join(new.code.imports) or 'none'}")
    if old.http != new.http:
        lines.append(f"http: {new.http.listen if new.http else 'off'}")
    if old.monitor.webhook != new.monitor.webhook:
        lines.append(f"webhook: {'changed' if new.monitor.webhook else 'off'}")
    lines += _schedule_changes(old.monitor.schedules, new.monitor.schedules)
    if old.log != new.log:
        lines.append(f"log: level {new.log.level}, format {new.log.format}, jobs {new.log.jobs}")
    policies = old.monitor.policy, new.monitor.policy
    if all(policies) and policies[0] != policies[1]:
        what = [one.name for one in fields(Policy) if _differ(*policies, one.name)]
        lines.append(f"payloads: {', '.join(what)} changed; every worker is replaced")
    for name in {**old.pools, **new.pools}:
        lines += _pool_changes(name, old.pools.get(name), new.pools.get(name))
    for name, queue in new.monitor.queues.items():
        before = old.monitor.queues.get(name, queue)
        objectives = [one.name for one in fields(QueueSpec)]
        changed = [key for key in objectives if getattr(before, key) != getattr(queue, key)]
        if changed:
            lines.append(f"queues.{name}: {', '.join(changed)} changed")
    return lines


def _schedule_changes(
    old: Mapping[str, ScheduleSpec], new: Mapping[str, ScheduleSpec]
) -> Iterator[str]:
    for name in {**old, **new}:
        if old.get(name) != new.get(name):
            what = "removed" if name not in new else "changed" if name in old else "new"
            yield f"schedule.{name}: {what}"


def _differ(before: Policy | None, after: Policy | None, field: str) -> bool:
    return bool(getattr(before, field) != getattr(after, field))


def _pool_changes(name: str, old: PoolPlan | None, new: PoolPlan | None) -> list[str]:
    if old is None:
        assert new
        return [f"queues.{name}: new, {_workers(new)}"]
    if new is None:
        return [f"queues.{name}: removed; its workers drain"]
    lines = []
    if _range(old) != _range(new):
        lines.append(f"queues.{name}.processes: {_range(old)} → {_range(new)}")
    elif old.bounds != new.bounds:
        lines.append(f"queues.{name}.processes.cooldown: changed")
    own = {one.name for one in fields(WorkerSpec)} - {"url", "log", "tracing", "policy"}
    changed = sorted(
        key for key in own if getattr(old.blueprint, key) != getattr(new.blueprint, key)
    )
    if changed:
        lines.append(f"queues.{name}: {', '.join(changed)} changed; its workers are replaced")
    return lines


def _range(pool: PoolPlan) -> str:
    return f"{pool.bounds.min}..{pool.bounds.max}" if pool.bounds else str(pool.processes)


def _workers(pool: PoolPlan) -> str:
    return f"{_range(pool)} worker{'s' * (_range(pool) != '1')}"
