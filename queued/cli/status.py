"""``queued status`` on one screen: the daemon, its pools, its queues, and what is not well."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import click

from queued.cli.output import ago, plural, print_fields, print_table, styled
from queued.units import format_duration, format_size

_AS_PLANNED = {"max_jobs", "max_time", "max_memory", "drained", "empty"}
_WORKERS = 16
"""Workers that are listed; with more, the rest would not stay on one screen."""
_RECENT = 3_600.0
"""Seconds for which a crash is told of."""
_STALE = 30.0
"""Seconds after which a sample of the queues is called old."""


def print_status(status: Mapping[str, Any]) -> None:
    """Print a daemon's answer to ``status``."""
    print_fields(_daemon(status))
    pools = status["pools"]
    click.echo()
    print_table(
        ("pool", "state", "workers", "busy", "memory", "exits"),
        (_pool(name, pool) for name, pool in pools.items()),
        right=("workers", "busy", "memory"),
    )
    _print_workers(pools)
    click.echo()
    queues = status.get("queues") or {}
    print_table(
        ("queue", "ready", "scheduled", "reserved", "failed", "last hour", "oldest"),
        (_queue(name, queues.get(name)) for name in {**pools, **queues}),
        right=("ready", "scheduled", "reserved", "failed", "last hour", "oldest"),
    )
    notes = list(_notes(status))
    if notes:
        click.echo()
    for note in notes:
        click.echo(str(styled(note)))


def _daemon(status: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    state = status["state"] + (", quiet: no jobs are started" if status.get("quiet") else "")
    uptime = format_duration(status["uptime"])
    yield "daemon", f"{state} for {uptime}, pid {status['pid']}, version {status['version']}"
    yield "config", status["config"]
    reached = {True: "reachable", False: "not reachable", None: "not asked yet"}
    up = reached[status.get("driver_up")]
    yield "back-end", f"{status['connection']} ({status['connection_source']}), {up}"
    yield "http", f"http://{status['http']}/metrics" if status.get("http") else "off"
    if status.get("change"):
        yield "change", f"{status['change']['change']}: {status['change']['phase']}"


def _pool(name: str, pool: Mapping[str, Any]) -> tuple[Any, ...]:
    workers = [one for one in pool["workers"] if not one.get("solo")]
    running = sum(one["state"] == "running" for one in workers)
    slots = sum(one.get("slots", 0) for one in workers if one["state"] == "running")
    return (
        name,
        pool["state"],
        f"{running}/{pool['desired']}",
        f"{pool['busy']}/{slots}",
        format_size(pool["rss"]),
        _exits(pool["exits"]),
    )


def _print_workers(pools: Mapping[str, Any]) -> None:
    workers = [one for pool in pools.values() for one in pool["workers"] if one["pid"]]
    if not workers:
        return
    click.echo()
    print_table(
        ("worker", "pid", "up", "memory", "settled", "runs"),
        (_worker(one) for one in workers[:_WORKERS]),
        right=("pid", "up", "memory", "settled"),
    )
    if len(workers) > _WORKERS:
        click.echo(f"and {len(workers) - _WORKERS} more; --json has them all")


def _worker(worker: Mapping[str, Any]) -> tuple[Any, ...]:
    return (
        worker["name"],
        worker["pid"],
        format_duration(int(worker["uptime"])),
        format_size(worker["rss"]),
        worker.get("settled", 0),
        _runs(worker),
    )


def _runs(worker: Mapping[str, Any]) -> str:
    """Return what a worker is doing: the job that has run longest, and how many run beside it."""
    if worker["state"] != "running":
        return str(worker["state"])
    jobs = sorted(worker.get("jobs", ()), key=lambda one: -float(one["seconds"]))
    if not jobs:
        return "-"
    name, seconds = jobs[0]["job"].rpartition(".")[2], jobs[0]["seconds"]
    since = f" for {format_duration(seconds)}" if seconds >= 1 else ""
    return f"{name}{since}" + (f", and {len(jobs) - 1} more" if len(jobs) > 1 else "")


def _exits(exits: Mapping[str, int]) -> str:
    """Return how often workers ended, and why; what was planned comes last."""
    reasons = sorted(exits.items(), key=lambda one: (one[0] in _AS_PLANNED, one[0]))
    parts = ", ".join(f"{reason} {count}" for reason, count in reasons if count)
    return f"{sum(exits.values())} ({parts})" if parts else "0"


def _crash(crash: Mapping[str, Any]) -> str:
    by_kernel = ", killed by the kernel for memory" if crash["reason"] == "oom" else ""
    memory = format_size(crash["peak_memory"])
    how = f"{crash['how']}{by_kernel}; peak memory {memory}"
    return f"{crash['worker']} crashed {ago(crash['at'])}: {how}"


def _queue(name: str, stats: Mapping[str, Any] | None) -> tuple[Any, ...]:
    if stats is None:
        return (name, *"------")
    counts = (stats[key] for key in ("ready", "scheduled", "reserved", "failed"))
    oldest = format_duration(stats["oldest_ready_age_seconds"]) if stats["ready"] else "-"
    return (name, *counts, stats.get("failed_last_hour", "-"), oldest)


def _notes(status: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each thing that somebody should look at."""
    for pool in status["pools"].values():
        crash = pool.get("last_crash")
        if crash and time.time() - crash["at"] < _RECENT:
            yield _crash(crash)
        for worker in pool["workers"]:
            if worker["state"] == "backoff":
                yield f"{worker['name']} crashed; it starts again in {worker['retry_in']} s"
            elif worker["state"] == "fatal":
                hint = "see the log; queued restart tries again"
                yield f"{worker['name']} has crashed too often and is given up: {hint}"
    if status.get("unsettled"):
        yield f"jobs of {plural(status['unsettled'], 'dead worker')} wait to be taken back"
    sampled = status.get("sampled_at")
    if sampled and time.time() - sampled > _STALE:
        yield f"the queues were last seen {format_duration(time.time() - sampled)} ago"
    reload = status.get("last_reload")
    if reload and not reload["ok"]:
        yield f"the last reload failed, and the configuration before it runs: {reload['error']}"
