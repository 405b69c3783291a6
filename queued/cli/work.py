"""``queued work``: one worker, complete by itself, as RouteMQ's users know it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from queued.cli.failures import say
from queued.cli.options import (
    Duration,
    Rate,
    config_option,
    connection_option,
    example,
    load_config,
)

if TYPE_CHECKING:
    from queued.config.load import LoadedConfig
    from queued.daemon.spec import WorkerSpec
    from queued.drivers.base import RateLimit

count = click.IntRange(0)


@click.command(
    epilog=example(
        "queued work --queue emails --sleep 1 --max-jobs 1000",
        "queued work --queue default --max-jobs 1 --max-tries 1 --import app.jobs",
    )
)
@click.option(
    "--queue", metavar="QUEUE", default="default", show_default=True, help="The queue it serves."
)
@click.option(
    "--concurrency", type=click.IntRange(1, 1_000), metavar="N", help="Jobs that it runs at a time."
)
@click.option("--sleep", type=Duration(), help="The longest it waits before it looks again.")
@click.option("--max-jobs", type=count, metavar="N", help="It ends after so many jobs.")
@click.option("--max-time", type=Duration(), help="It ends after this time.")
@click.option(
    "--max-tries", type=click.IntRange(1), metavar="N", help="Wins over what the jobs say."
)
@click.option("--timeout", type=Duration(), help="Wins over what the jobs say; 0: none.")
@click.option("--rate-limit", type=Rate(), help="As in queue.yaml: 100/1m.")
@click.option("--import", "modules", multiple=True, metavar="MODULE", help="Load its jobs too.")
@config_option
@connection_option
def work(
    *,
    queue: str,
    concurrency: int | None,
    sleep: float | None,
    max_jobs: int | None,
    max_time: float | None,
    max_tries: int | None,
    timeout: float | None,
    rate_limit: RateLimit | None,
    modules: Sequence[str],
    config: Path,
    connection: str | None,
) -> int:
    """Run one worker in the foreground, without a daemon.

    What queue.yaml says of the queue holds, if there is one; flags win over it. The worker renews
    its own lease, and looks after jobs that are due or whose worker is lost. SIGTERM or Ctrl-C
    ends it: running jobs may finish within shutdown_grace.
    """
    from queued.daemon import titles  # noqa: PLC0415 - commands import when they run
    from queued.daemon.master import privileges  # noqa: PLC0415
    from queued.daemon.spec import LimitsSpec  # noqa: PLC0415
    from queued.daemon.worker import standalone  # noqa: PLC0415 - commands import when they run
    from queued.jobs import imports  # noqa: PLC0415

    loaded = _config(config, connection)
    overrides: dict[str, Any] = {
        "concurrency": concurrency,
        "sleep": sleep,
        "max_jobs": max_jobs or None,
        "max_time": max_time or None,
        "rate_limit": rate_limit,
    }
    spec = replace(
        blueprint(loaded, queue),
        flags=LimitsSpec(max_tries=max_tries, timeout=timeout),
        **{name: value for name, value in overrides.items() if value is not None},
    )
    titles.show(f"work {queue}")
    user = privileges.identity(loaded.config.user)
    privileges.become(user)
    privileges.check_access(loaded, user)
    for warning in loaded.warnings:
        say(f"warning: {warning}")
    for warning in imports.load([*loaded.config.code, *modules], loaded.folder):
        say(f"warning: {warning}")
    if not loaded.path.exists() and not modules:
        say(
            f"warning: {config}: no such file, so this worker knows no job and fails each that it"
            " takes; name the file with -c, or modules with --import"
        )
    return standalone.work(spec)


def _config(config: Path, connection: str | None) -> LoadedConfig:
    """Return queue.yaml, or where there is none and none was asked for, what holds without one."""
    from queued.config.connection import resolve  # noqa: PLC0415 - commands import when they run
    from queued.config.load import LoadedConfig  # noqa: PLC0415
    from queued.config.schema import Config, QueueConfig  # noqa: PLC0415

    source = click.get_current_context().get_parameter_source("config")
    if config.exists() or source is not click.core.ParameterSource.DEFAULT:
        return load_config(config, connection)
    path = config.absolute()
    url, named_by = resolve(None, path, os.environ, connection)
    return LoadedConfig(Config(connection=url, queues={"default": QueueConfig()}), path, named_by)


def blueprint(loaded: LoadedConfig, queue: str) -> WorkerSpec:
    """Return what a worker of ``queue`` is made from; one that queue.yaml lacks has its defaults.

    :raises click.UsageError: that is no name for a queue.
    """
    from queued.daemon.master.plan import plan  # noqa: PLC0415 - commands import when they run
    from queued.drivers.base import QUEUE_PATTERN  # noqa: PLC0415

    if not QUEUE_PATTERN.fullmatch(queue):
        raise click.UsageError(f"--queue: expected a queue's name such as emails, got {queue!r}")
    config = loaded.config
    settings = config.queues.get(queue, config.defaults)
    alone = replace(loaded, config=config.model_copy(update={"queues": {queue: settings}}))
    return plan(alone, "", "").pools[queue].blueprint
