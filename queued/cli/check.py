"""``queued check``: the configuration and the jobs, before they are put into service."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from queued.cli.exits import Exit
from queued.cli.options import (
    backend_options,
    example,
    load_config,
)
from queued.cli.output import plural, print_json, print_table
from queued.errors import ConfigError, ImportFailed
from queued.jobs.text import one_line
from queued.units import format_duration

if TYPE_CHECKING:
    from queued.config.load import LoadedConfig
    from queued.jobs.job import Job


@click.command(epilog=example("queued check -c queue.yaml && queued reload"))
@backend_options
def check(config: Path, connection: str | None, *, as_json: bool) -> int:
    """Check queue.yaml, then import the jobs; show every problem at once, and list what runs where.

    Nothing is started, and the back-end is not asked. The exit code is 1 if anything is wrong.
    """
    report: dict[str, Any] = {
        "ok": False, "problems": [], "warnings": [], "queues": [], "jobs": [],
    }  # fmt: skip
    try:
        loaded = load_config(config, connection)
        report["warnings"] += loaded.warnings
        report["queues"] = list(loaded.config.queues)
        report["warnings"] += _import(loaded)
        report["jobs"] = _jobs(loaded)
        report["warnings"] += _mismatches(config, report["queues"], report["jobs"])
    except ConfigError as error:
        report["problems"] += error.problems
    except ImportFailed as error:
        report["problems"] += str(error).splitlines()
    report["ok"] = not report["problems"]
    if as_json:
        print_json(report)
    else:
        _print(config, report)
    return Exit.OK if report["ok"] else Exit.PROBLEM


def _import(loaded: LoadedConfig) -> list[str]:
    from queued.jobs import imports  # noqa: PLC0415 - only if the configuration is right

    return [one.strip() for one in imports.load(loaded.config.code, loaded.folder)]


def _jobs(loaded: LoadedConfig) -> list[dict[str, Any]]:
    from queued.jobs import registry  # noqa: PLC0415 - only if the configuration is right

    return [
        {"name": name, **_settings(cls, loaded)}
        for name, cls in sorted(registry.registered().items())
    ]


def _settings(cls: type[Job], loaded: LoadedConfig) -> dict[str, Any]:
    """Return what holds for a class on the queue that it goes to."""
    from queued.jobs.limits import PoolLimits, resolve  # noqa: PLC0415 - see _jobs

    name = cls.queue or "default"
    pool = loaded.config.queues.get(name, loaded.config.defaults)
    level = PoolLimits(pool.max_tries, pool.timeout, pool.retry_after, pool.backoff)
    limits = resolve(cls, level)
    return {"queue": name, "max_tries": limits.max_tries, "timeout": limits.timeout}


def _mismatches(config: Path, queues: list[str], jobs: list[dict[str, Any]]) -> list[str]:
    """Return a warning for each queue that no pool serves, and for each pool without a job."""
    named = Counter(one["queue"] for one in jobs)
    first = {one["queue"]: one["name"] for one in reversed(jobs)}
    warnings = []
    for queue in sorted(named.keys() - set(queues)):
        more = f" and {named[queue] - 1} more" if named[queue] > 1 else ""
        who = f"{first[queue]}{more} would wait for ever"
        warnings.append(f"{config}: no pool serves the queue {queue}: {who}")
    if jobs:
        idle = [queue for queue in queues if queue not in named]
        warnings += [f"{config}: queues.{queue}: no job names this queue" for queue in idle]
    return warnings


def _print(config: Path, report: dict[str, Any]) -> None:
    for problem in report["problems"]:
        _say(problem)
    for warning in report["warnings"]:
        _say(f"warning: {warning}")
    if not report["ok"]:
        _say(f"{config}: {plural(len(report['problems']), 'problem')}")
        return
    if report["jobs"]:
        rows = [
            (one["name"], one["queue"], one["max_tries"],
             format_duration(one["timeout"]) if one["timeout"] else "none")
            for one in report["jobs"]
        ]  # fmt: skip
        print_table(("job", "queue", "max_tries", "timeout"), rows, right=("max_tries", "timeout"))
    counted = f"{plural(len(report['queues']), 'queue')}, {plural(len(report['jobs']), 'job')}"
    _say(f"{config}: ok, {counted}")


def _say(text: str) -> None:
    """Print one line, whatever the file and the modules hold."""
    click.echo(one_line(text, 2_000))
