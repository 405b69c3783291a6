"""Reload and restart: a new queue.yaml, new code, or both, into the running daemon.

What needs a new template waits for its imports, and what then rolls waits for its workers; the
request that asked for it is answered when the outcome is known. Whatever is wrong (a line of
queue.yaml, a taken port, an import, a worker that dies at once) is reported, and what ran before
still runs.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import structlog

from queued.config.load import LoadedConfig
from queued.daemon import logs
from queued.daemon.master.child import Child
from queued.daemon.master.control import Request
from queued.daemon.master.deaths import Ending, Exit
from queued.daemon.master.listen import listen
from queued.daemon.master.plan import Plan, changes
from queued.daemon.master.rollout import Rollout
from queued.daemon.master.template_process import Code
from queued.daemon.master.workforce import Workforce
from queued.errors import QueuedError

log = structlog.get_logger()

BUSY = "a restart is under way; queued status shows it, try again when it is done"


Sizes = dict[str, tuple[int, bool]]
"""By pool, how many workers it should have, and whether somebody has said so by hand."""


class Before(NamedTuple):
    """What held before a change."""

    plan: Plan
    listener: socket.socket | None
    quiet: bool
    sizes: Sizes


@dataclass(slots=True)
class Change:
    """What was asked for and is not done yet."""

    name: str
    """``reload`` or ``restart``."""
    request: Request | None
    pools: Sequence[str] | None = None
    """Whose workers are replaced; None: everybody's."""
    plan: Plan | None = None
    listener: socket.socket | None = None
    lines: list[str] = field(default_factory=list)
    """What differs, for people."""
    generation: int = 0
    rollout: Rollout | None = None
    before: Before | None = None
    """What to go back to, once something has been put in its place."""
    sizes: Sizes = field(default_factory=dict)
    """What it made of the pools; one that differs has been scaled since."""


class Changes:
    """At most one change at a time.

    :param read: reads queue.yaml again.
    :param settled: called when a reload has succeeded or failed.
    """

    def __init__(
        self,
        workforce: Workforce,
        read: Callable[[], tuple[LoadedConfig, Plan]],
        settled: Callable[[LoadedConfig | None, str], None],
    ) -> None:
        self._workforce = workforce
        self._read = read
        self._settled = settled
        self._change: Change | None = None
        self._loaded: LoadedConfig | None = None
        self.last_restart: dict[str, Any] | None = None
        """When it ended (seconds since the epoch), whether it succeeded, and why not."""

    @property
    def busy(self) -> bool:
        return self._change is not None

    def status(self) -> dict[str, Any] | None:
        """Return what is under way, for ``queued status``."""
        change = self._change
        if change is None:
            return None
        return {"change": change.name, "phase": "rolling" if change.rollout else "importing"}

    # what is asked for

    def reload(self, request: Request | None = None) -> None:
        """Apply queue.yaml by difference."""
        if self._refuse_if_busy(request):
            return
        force = self._workforce
        listener = force.births.listener
        try:
            self._loaded, plan = self._read()
            if plan.http != force.plan.http:
                listener = self._listener_for(plan)
        except QueuedError as error:
            self._failed(Change("reload", request), str(error))
            return
        change = Change("reload", request, plan=plan, listener=listener)
        change.lines = changes(force.plan, plan)
        if plan.code.imports != force.plan.code.imports:
            self._propose(change, plan.code)
            return
        self._apply(change)
        self._succeeded(change)

    def restart(self, request: Request | None = None, pool: str | None = None) -> None:
        """Take new code into service, in one pool or in all."""
        if self._refuse_if_busy(request):
            return
        force = self._workforce
        if pool is not None and pool not in force.pools:
            known = ", ".join(force.pools)
            if request is not None:
                request.refuse(f"no pool {pool!r}; there are {known}")
            return
        change = Change("restart", request, pools=None if pool is None else [pool])
        self._propose(change, force.plan.code)

    def cancel(self, error: str) -> None:
        """Give up what is under way: the daemon stops."""
        if self._change is not None:
            self._failed(self._change, error)

    def _refuse_if_busy(self, request: Request | None) -> bool:
        if self._change is not None and request is not None:
            request.refuse(BUSY)
        return self._change is not None

    def _listener_for(self, plan: Plan) -> socket.socket | None:
        old = self._workforce.plan.http
        if plan.http is None:
            return None
        if old is not None and old.listen == plan.http.listen:
            return self._workforce.births.listener
        return listen(plan.http, beside=self._workforce.births.listener)

    # how it goes on

    def _propose(self, change: Change, code: Code) -> None:
        self._change = change
        try:
            change.generation = self._workforce.births.templates.propose(code, time.monotonic())
        except OSError as error:
            self._failed(change, f"no process for the new code: {error.strerror}")
            return
        log.info(f"{change.name}.importing", imports=list(code.imports))  # noqa: G004

    def imported(self, generation: int, error: str) -> bool:
        """Hear of a template that is ready (no error), failed or died; False: it is not ours."""
        change = self._change
        if change is None or change.generation != generation:
            return False
        if error:
            self._failed(change, error)
            return True
        self._apply(change)
        if change.name == "restart" and change.pools is None:
            self._workforce.quiet = False  # what starts from now on takes jobs again
        pools = self._workforce.pools
        names = change.pools if change.pools is not None else list(pools)
        change.rollout = Rollout(
            [pools[name] for name in names if not pools[name].closing], generation
        )
        return True

    def died(self, child: Child, exit_: Exit, ending: Ending) -> None:
        """Hear of a worker's death."""
        if self._change is not None and self._change.rollout is not None and ending.counts:
            self._change.rollout.died(child, exit_.text, time.monotonic())

    def tick(self) -> None:
        """Let a rollout take its next step."""
        change = self._change
        if change is None or change.rollout is None:
            return
        change.rollout.tick()
        if change.rollout.error:
            self._failed(change, change.rollout.error)
        elif change.rollout.done:
            self._workforce.births.templates.accept()
            self._succeeded(change)

    def _apply(self, change: Change) -> None:
        force = self._workforce
        change.before = Before(force.plan, force.births.listener, force.quiet, self._sizes())
        if change.plan is not None:
            self._put(change.plan, change.listener)
        change.sizes = self._sizes()

    def _put(self, plan: Plan, listener: socket.socket | None) -> None:
        if plan.log != self._workforce.plan.log:
            logs.configure(plan.log)
        self._workforce.apply(plan, listener)

    def _take_back(self, change: Change, error: str) -> None:
        """Undo what was applied: pools, settings and code, all of it or nothing."""
        force = self._workforce
        if change.rollout is not None:
            change.rollout.stop(error)
        if change.before is None:
            return
        if change.plan is not None:
            scaled = dict(self._sizes().items() - change.sizes.items())
            self._put(change.before.plan, change.before.listener)
            self._resize(change.before.sizes | scaled)
        if change.before.quiet:  # those that have started meanwhile, too
            force.be_quiet()

    def _sizes(self) -> Sizes:
        return {name: (one.desired, one.by_hand) for name, one in self._workforce.pools.items()}

    def _resize(self, sizes: Sizes) -> None:
        for name, pool in self._workforce.pools.items():
            if name in sizes:
                pool.desired, pool.by_hand = sizes[name]
        self._workforce.allow_descriptors()

    def _close_unless_used(self, listener: socket.socket | None) -> None:
        if listener is not None and listener is not self._workforce.births.listener:
            listener.close()

    # how it ends

    def _succeeded(self, change: Change) -> None:
        self._change = None
        if change.before is not None:
            self._close_unless_used(change.before.listener)
        if change.plan is not None:
            self._workforce.briefing.config_ok = True
            self._workforce.briefing.reloads += 1
            self._settled(self._loaded, "")
        fields = {"changes": change.lines or ["none"]} if change.name == "reload" else {}
        log.info(f"{change.name}.done", **fields)  # noqa: G004
        self._note(change, "")
        if change.request is not None:
            change.request.answer(changes=change.lines)

    def _failed(self, change: Change, error: str) -> None:
        self._change = None
        force = self._workforce
        force.births.templates.reject()
        self._take_back(change, error)
        self._close_unless_used(change.listener)
        if change.name == "reload":
            force.briefing.config_ok = False
            self._settled(None, error)
        self._note(change, error)
        for line in error.splitlines():
            log.error(f"{change.name}.failed", error=line)  # noqa: G004
        if change.request is not None:
            change.request.refuse(error)

    def _note(self, change: Change, error: str) -> None:
        if change.name == "restart":
            self.last_restart = {"at": time.time(), "ok": not error, "error": error or None}
