"""What a daemon answers to ``status``, as people see it, with the rules of the page at ``/``."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, NamedTuple

from queued.cli.output import ago, plural
from queued.drivers.base import Paused, QueueStats
from queued.units import format_size
from queued.web.overview import Lately, Overview, PoolView, QueueView

RECENT = 3_600.0
"""Seconds for which a crash is told of."""

_STATS = {field.name for field in fields(QueueStats)}


class Run(NamedTuple):
    """A job that runs now."""

    id: str
    job: str
    """Its class, with the module."""
    worker: str
    pid: int | None
    seconds: float
    timeout: float | None
    """Seconds that it may run; None: for ever."""

    @property
    def name(self) -> str:
        """Its class alone."""
        return self.job.rpartition(".")[2]


class Reading:
    """One answer of a daemon. An older daemon's, which knows less, is read as well.

    :param status: as it came over the control socket.
    :param now: seconds since the epoch.
    """

    def __init__(self, status: Mapping[str, Any], now: float | None = None) -> None:
        self.status = status
        self.now = time.time() if now is None else now
        self.overview = _overview(status, self.now)
        self.runs = sorted(_runs(status), key=lambda run: -run.seconds)
        """The longest first."""
        self.reasons = [*_reasons(status), *self.overview.unready()]
        """Why jobs cannot run, a sentence each."""
        self.warnings = [*self.overview.warnings(), *_warnings(status)]
        """What somebody should look at though jobs run."""

    @property
    def ready(self) -> bool:
        return not self.reasons

    @property
    def healthy(self) -> bool:
        return not self.problems

    @property
    def problems(self) -> list[str]:
        """The worst first."""
        return self.reasons + self.warnings

    @property
    def headline(self) -> str:
        """The health in a word or three, as on the page."""
        if self.reasons:
            return "not ready"
        return "ready, with warnings" if self.warnings else "healthy"

    def as_json(self) -> dict[str, Any]:
        """Return the answer with the health beside it."""
        health = {"healthy": self.healthy, "ready": self.ready, "problems": self.problems}
        return {"health": health, **self.status}

    def notes(self) -> Iterator[str]:
        """Yield what is worth knowing beside the health, a line each."""
        yield from self.overview.pauses(self.now)
        yield from self._next_looks()
        for pool in self.status["pools"].values():
            crash = pool.get("last_crash")
            if crash and self.now - crash["at"] < RECENT:
                yield _crash(crash)
            for worker in pool["workers"]:
                if worker["state"] == "backoff":
                    yield f"{worker['name']} crashed; it starts again in {worker['retry_in']} s"
                elif worker["state"] == "fatal":
                    hint = "see the log; queued restart tries again"
                    yield f"{worker['name']} has crashed too often and is given up: {hint}"
        for queue in self.overview.queues:
            if queue.stats and queue.stats.refused_total:
                count = plural(queue.stats.refused_total, "duplicate")
                yield f"{queue.name}: {count} refused so far: another job held their unique key"
        if self.status.get("unsettled"):
            yield f"jobs of {plural(self.status['unsettled'], 'dead worker')} wait to be taken back"

    def _next_looks(self) -> Iterator[str]:
        """Yield the commands that say more of what is late, and of what has failed."""
        looks = [f"queued why {one.name}" for one in self.overview.queues if one.late][:1]
        failing = [one.stats.failed_last_hour for one in self.overview.queues if one.stats]
        if any(failing):
            looks.append(f"queued failed list --group ({sum(failing)} in the last hour)")
        if looks:
            yield f"look next: {'; '.join(looks)}"


def _overview(status: Mapping[str, Any], now: float) -> Overview:
    sampled = status.get("sampled_at")
    sample_age = max(0.0, now - sampled) if sampled else None
    queues, recent = status.get("queues") or {}, status.get("recent") or {}
    pools: Mapping[str, Any] = status["pools"]
    return Overview(
        backend=status["connection"].partition(":")[0],
        backend_up=status.get("driver_up") is not False,
        backend_since=status["uptime"] if sample_age is None else sample_age,
        backend_error=status.get("driver_error") or "",
        fleet_age=0.0,
        sample_age=sample_age,
        config_ok=True,  # said with the error, below
        unserved=status.get("unserved") or {},
        pools=[_pool(name, pool) for name, pool in pools.items()],
        queues=[
            QueueView(
                name=name,
                stats=_stats(queues.get(name)),
                max_wait=pools.get(name, {}).get("max_wait"),
                max_failure_rate=pools.get(name, {}).get("max_failure_rate"),
                lately=Lately.of(recent.get(name)),
            )
            for name in {**pools, **queues}
        ],
    )


def _pool(name: str, pool: Mapping[str, Any]) -> PoolView:
    running = [one for one in pool["workers"] if one["state"] == "running" and not one.get("solo")]
    return PoolView(
        name=name,
        state=pool["state"],
        running=len(running),
        desired=pool["desired"],
        busy=pool["busy"],
        slots=sum(one.get("slots", 0) for one in running),
        memory=pool["rss"],
        exits=pool["exits"],
        range=(bounds["min"], bounds["max"]) if (bounds := pool.get("range")) else None,
    )


def _stats(values: Mapping[str, Any] | None) -> QueueStats | None:
    if values is None:
        return None
    known = {name: values[name] for name in _STATS & values.keys()}
    if known.get("paused"):
        known["paused"] = Paused(**known["paused"])
    return QueueStats(**known)


def _runs(status: Mapping[str, Any]) -> Iterator[Run]:
    for pool in status["pools"].values():
        for worker in pool["workers"]:
            for job in worker.get("jobs", ()):
                timeout = job.get("timeout")
                yield Run(
                    job["id"], job["job"], worker["name"], worker["pid"], job["seconds"], timeout
                )


def _reasons(status: Mapping[str, Any]) -> Iterator[str]:
    if status["state"] == "stopping":
        yield "the daemon is stopping: no more jobs are started"
    elif status.get("quiet"):
        yield "the daemon is quiet: no more jobs are started; queued restart undoes it"
    elif status["state"] == "starting":
        yield "the daemon is starting"
    elif status.get("driver_up") is None:
        yield "the back-end has not answered yet"


def _warnings(status: Mapping[str, Any]) -> Iterator[str]:
    monitor = status.get("monitor")
    if status["state"] == "running" and (monitor is None or monitor["state"] != "running"):
        state = monitor["state"] if monitor else "gone"
        yield f"the monitor is not running ({state}): what dead workers held is not taken back"
    reload = status.get("last_reload")
    if reload and not reload["ok"]:
        yield f"the last reload failed, and the configuration before it runs: {reload['error']}"
    restart = status.get("last_restart")
    if restart and not restart["ok"]:
        yield f"the last restart failed, and the code before it runs: {restart['error']}"


def _crash(crash: Mapping[str, Any]) -> str:
    by_kernel = ", killed by the kernel for memory" if crash["reason"] == "oom" else ""
    memory = format_size(crash["peak_memory"])
    how = f"{crash['how']}{by_kernel}; peak memory {memory}"
    return f"{crash['worker']} crashed {ago(crash['at'])}: {how}"
