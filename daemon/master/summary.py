"""What `queued start` says first: what it is about to run, where, and from which file."""

from __future__ import annotations

import os
import sys

import structlog

from queued.config.load import LoadedConfig
from queued.daemon.master.plan import Plan
from queued.environment import redact
from queued.version import __version__

log = structlog.get_logger()


def announce(loaded: LoadedConfig, plan: Plan, http: str | None) -> None:
    """Print a table on a terminal; elsewhere log one event with the same.

    :param http: the address as bound; None: no HTTP.
    """
    connection = redact(plan.code.url)
    if os.isatty(2) and plan.log.format != "json":
        sys.stderr.write(table(loaded, plan, http))
        sys.stderr.flush()
    else:
        log.info(
            "master.started",
            pid=os.getpid(),
            version=__version__,
            config=str(loaded.path),
            connection=connection,
            connection_source=loaded.connection_source,
            http=http,
            pools={name: _size(plan, name) for name in plan.pools},
        )
    for warning in loaded.warnings:
        log.warning("config.warning", hint=warning)
    if os.geteuid() == 0 and loaded.config.user is None:
        log.warning("master.root", hint="jobs run as root; name a user: in queue.yaml")


def table(loaded: LoadedConfig, plan: Plan, http: str | None) -> str:
    """Return the lines for a terminal."""
    width = max(map(len, plan.pools))
    pools = [f"{name:<{width}}  {_size(plan, name)}" for name in plan.pools]
    metrics = f"http://{http}/metrics" if http else "off"
    fields = [
        ("config", str(loaded.path)),
        ("connection", f"{redact(plan.code.url)}  ({loaded.connection_source})"),
        ("metrics", metrics),
        ("imports", ", ".join(plan.code.imports) or "none"),
        ("pools", pools[0]),
        *(("", pool) for pool in pools[1:]),
    ]
    lines = [f"queued {__version__}", *(f"  {name:<12}{value}".rstrip() for name, value in fields)]
    return "\n".join(lines) + "\n\n"


def _size(plan: Plan, name: str) -> str:
    pool = plan.pools[name]
    processes, jobs = pool.processes, pool.blueprint.concurrency
    if pool.bounds:
        workers = f"{pool.bounds.min} to {pool.bounds.max} processes"
    elif not processes:
        return "parked (processes: 0)"
    else:
        workers = f"{processes} process{'es' * (processes != 1)}"
    return f"{workers} x {jobs} job{'s' * (jobs != 1)}"
