"""What the master answers on its control socket."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import structlog

from queued.daemon.master.control import Request
from queued.daemon.master.pool import Pool
from queued.daemon.master.report import bounds_of, pool_status, worker_status
from queued.daemon.spec import NO_OBJECTIVES
from queued.environment import redact
from queued.version import __version__

if TYPE_CHECKING:
    from queued.daemon.master.master import Master

log = structlog.get_logger()

MAX_PROCESSES = 1_000


class Commands:
    """One method for each command. ``stop`` answers at the very end."""

    def __init__(self, master: Master) -> None:
        self._master = master
        self._waiting_for_the_end: list[Request] = []

    def table(self) -> dict[str, Callable[[Request], None]]:
        return {
            "status": self.status,
            "reload": self.reload,
            "restart": self.restart,
            "scale": self.scale,
            "quiet": self.quiet,
            "stop": self.stop,
        }

    def status(self, request: Request) -> None:
        request.answer(**self._status())

    def reload(self, request: Request) -> None:
        if not self._refused(request):
            self._master.changes.reload(request)

    def restart(self, request: Request) -> None:
        if not self._refused(request):
            pool = request.arguments.get("pool")
            self._master.changes.restart(request, None if pool is None else str(pool))

    def scale(self, request: Request) -> None:
        """Set how many workers a pool has, until its ``processes`` in queue.yaml changes.

        ``auto`` hands one with a range back to the autoscaler.
        """
        if self._refused(request):
            return
        pools = self._master.workforce.pools
        name, processes = str(request.arguments.get("pool")), request.arguments.get("processes")
        pool = pools.get(name)
        if pool is None:
            request.refuse(f"no pool {name!r}; there are {', '.join(pools)}")
        elif pool.closing:
            request.refuse(f"{name} is on its way out: queue.yaml has it no more")
        elif processes == "auto":
            self._hand_back(request, pool)
        elif type(processes) is not int or not 0 <= processes <= MAX_PROCESSES:
            request.refuse(f"processes: expected a number from 0 to {MAX_PROCESSES}")
        else:
            self._scale(request, pool, processes, by_hand=pool.bounds is not None)

    def _hand_back(self, request: Request, pool: Pool) -> None:
        if pool.bounds is None:
            hint = f"give queues.{pool.name}.processes a min and a max in queue.yaml"
            request.refuse(f"{pool.name} has a fixed number of workers; {hint}")
        else:
            self._scale(request, pool, pool.bounds.clamp(pool.desired), by_hand=False)

    def _scale(self, request: Request, pool: Pool, processes: int, *, by_hand: bool) -> None:
        before, pool.desired = pool.desired, processes
        pool.by_hand = by_hand
        pool.retry()
        self._master.workforce.allow_descriptors()
        if processes != before:
            fields = {"from": before, "to": processes, "why": "queued scale"}
            log.info("pool.scaled", pool=pool.name, **fields)
        scaled = {"range": bounds_of(pool)} if pool.bounds else {}
        request.answer(pool=pool.name, before=before, processes=processes, **scaled)

    def quiet(self, request: Request) -> None:
        if not self._refused(request):
            self._master.quiet()
            request.answer()

    def stop(self, request: Request) -> None:
        """Stop; asked again, it insists, as a second SIGTERM does."""
        self._waiting_for_the_end.append(request)
        self._master.stop(time.monotonic())

    def stopped(self) -> None:
        """Answer those who wait for the end."""
        for request in self._waiting_for_the_end:
            request.answer()

    def _refused(self, request: Request) -> bool:
        if self._master.stopping:
            request.refuse("the daemon is stopping")
        return self._master.stopping > 0

    def _status(self) -> dict[str, Any]:
        master, now = self._master, time.monotonic()
        force = master.workforce
        monitors = [worker_status(child, now) for child in force.monitors.children]
        return {
            "pid": os.getpid(),
            "install": force.plan.monitor.install,
            "version": __version__,
            "state": "stopping" if master.stopping else "running" if master.up else "starting",
            "quiet": force.quiet,
            "uptime": round(now - master.began, 1),
            "config": str(master.loaded.path),
            "connection": redact(force.plan.code.url),
            "connection_source": master.loaded.connection_source,
            "http": master.http,
            "driver_up": force.sample.get("driver_up"),
            "driver_error": force.sample.get("driver_error", ""),
            "sampled_at": force.sample.get("at"),
            "queues": force.sample.get("queues", {}),
            "recent": force.sample.get("recent", {}),
            "unserved": force.sample.get("unserved", {}),
            "pools": {
                name: pool_status(
                    pool,
                    force.exits.get(name, {}),
                    force.crashes.get(name),
                    force.plan.monitor.queues.get(name, NO_OBJECTIVES),
                    now,
                )
                for name, pool in force.pools.items()
            },
            "monitor": monitors[-1] if monitors else None,
            "change": master.changes.status(),
            "last_reload": master.last_reload,
            "last_restart": master.changes.last_restart,
            "reloads": force.briefing.reloads,
            "unsettled": len(force.briefing.graves),
        }
