"""All children of one daemon: the pools and the monitor, how they are made, heard and buried."""

from __future__ import annotations

import json
import selectors
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import structlog

from queued.daemon.channel import Frame
from queued.daemon.master import report
from queued.daemon.master.births import Births
from queued.daemon.master.briefing import Briefing
from queued.daemon.master.child import Child, ChildState, Stop, abort, kill, leaving
from queued.daemon.master.deaths import NEVER_BORN, Ending, Exit, classify, reap
from queued.daemon.master.listen import address
from queued.daemon.master.obituary import announce, crash_of, grave_of
from queued.daemon.master.overruns import check
from queued.daemon.master.plan import Plan
from queued.daemon.master.pool import Pool
from queued.daemon.master.resources import OomKills, allow_descriptors, resident
from queued.daemon.master.template_process import Programs
from queued.daemon.master.wires import Wires
from queued.daemon.spec import MonitorSpec

log = structlog.get_logger()

CHECK_EVERY = 0.25
"""Seconds between two readings of the scoreboards."""
DESCRIPTORS = 4
"""A worker costs its master three, and a fourth while it is made."""
SPARE_DESCRIPTORS = 200
MONITOR_SILENCE = 60.0
"""Seconds without a frame after which the monitor hangs; it speaks every second."""


class Workforce:
    """What the plan asks for and what there is; the master's loop calls its steps."""

    def __init__(
        self,
        plan: Plan,
        listener: socket.socket | None,
        programs: Programs,
        selector: selectors.BaseSelector,
        *,
        subreaper: bool,
    ) -> None:
        self.plan = plan
        self.quiet = False
        """Workers start no more jobs."""
        self.sample: Frame = {}
        """What the monitor last said of the back-end and its queues."""
        self.exits: dict[str, Counter[str]] = {}
        """Ended workers by pool and reason."""
        self.crashes: dict[str, Frame] = {}
        """The last one of each pool."""
        self.on_death: Callable[[Child, Exit, Ending], None] = lambda *_: None
        self._wires = Wires(selector)
        self._oom = OomKills()
        self._check_at = 0.0
        self.births = Births(
            plan.monitor, programs, self._wires, self._hear, self._bury, subreaper=subreaper
        )
        self.births.listener = listener
        self.monitors = Pool(
            "monitor", self._monitor_blueprint(), 1, self.births.monitor, gives_up=False
        )
        self.pools: dict[str, Pool] = {}
        self.briefing = Briefing(self.monitors, self.pools)
        for name, one in plan.pools.items():
            self.pools[name] = Pool(name, one.blueprint, one.processes, self.births.worker)
            self.pools[name].bounds = one.bounds
        self.allow_descriptors()

    # who there is

    @property
    def workers(self) -> Iterator[Child]:
        return (child for pool in self.pools.values() for child in pool.children)

    @property
    def _children(self) -> Iterator[Child]:
        yield from self.workers
        yield from self.monitors.children

    @property
    def has_workers(self) -> bool:
        """Whether a worker lives, or has been asked for."""
        return any(pool.living for pool in self.pools.values())

    @property
    def has_come_up(self) -> bool:
        """Whether everything that should run does, or has been tried in vain."""
        current = self.births.templates.current
        return (
            current is not None
            and current.ready
            and bool(self.monitors.running)
            and all(pool.state != "starting" for pool in self.pools.values())
        )

    # what should be

    def apply(self, plan: Plan, listener: socket.socket | None) -> None:
        """Take over a new plan; ``tick`` then closes the gap."""
        old, self.plan = self.plan, plan
        self.births.listener = listener
        for name, one in plan.pools.items():
            pool = self.pools.get(name)
            if pool is None:
                self.pools[name] = Pool(
                    name,
                    one.blueprint,
                    one.processes,
                    self.births.worker,
                    code=self.births.templates.newest,
                )
                self.pools[name].bounds = one.bounds
                continue
            pool.resize(one, None if pool.closing else old.pools[name])
            pool.closing = False
            pool.blueprint = one.blueprint
            pool.retry()
        for name, pool in self.pools.items():
            pool.closing |= name not in plan.pools
        self.allow_descriptors()
        self.monitors.blueprint = self._monitor_blueprint()
        self.monitors.retry()
        self.briefing.changed()

    def allow_descriptors(self) -> None:
        """See to it that the pools can be as large as they should be."""
        workers = sum(pool.desired for pool in self.pools.values())
        allow_descriptors(DESCRIPTORS * workers + SPARE_DESCRIPTORS)

    def _monitor_blueprint(self) -> MonitorSpec:
        listen = address(self.births.listener) if self.births.listener is not None else None
        return replace(self.plan.monitor, http_listen=listen)

    def be_quiet(self) -> None:
        """Let no worker start another job; those of a later restart will."""
        self.quiet = True
        for child in self.workers:
            child.channel.send({"type": "quiet"})

    def end_workers(self, stop: Callable[[Child], Stop], now: float) -> None:
        for pool in self.pools.values():
            pool.closing = True
            for child in pool.living:
                child.end(stop(child), now)

    def end_all(self) -> None:
        """Kill whatever still lives; the end of the daemon, however it came to it."""
        now = time.monotonic()
        for pool in (*self.pools.values(), self.monitors):
            pool.end(kill(), now)
        self.births.templates.close()
        for child in self._children:
            child.close()

    # what children say

    def _hear(self, child: Child) -> None:
        for data in child.channel.receive_raw():
            child.heard = time.monotonic()
            if data.startswith(report.SNAPSHOT):
                child.snapshot = data
                self.briefing.relay(child)
                continue
            try:
                self._take(child, json.loads(data))
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
                # A job can reach its worker's channel: whatever it writes must not stop the daemon.
                log.warning("channel.nonsense", child=child.name, error=repr(error))
        if child.channel.closed:
            self._wires.unwatch(child)

    def _take(self, child: Child, frame: Frame) -> None:
        now = time.monotonic()
        is_monitor = child.board is None
        match frame["type"]:
            case "ready":
                child.said_ready = True
            case "leaving":
                child.leaving = str(frame["reason"])
                child.end(leaving(child.grace), now)
            case "import_failed":
                log.error("import.failed", child=child.name, error=str(frame["error"]))
            case "sample" if is_monitor:
                self.sample = frame
            case "suspects" if is_monitor and not self.quiet:
                for queue in frame["queues"]:
                    if queue in self.pools:
                        self.pools[queue].serve_suspects()
            case "begin" if is_monitor:
                self.briefing.begin(frame["data"])
            case "settled" if is_monitor:
                self.briefing.graves.settled(frame["owner"])

    def _welcome(self, now: float) -> None:
        """Let those run that are ready and whose pid is known (which may be told later)."""
        for child in list(self._children):
            if child.state is ChildState.STARTING and child.said_ready and child.pid is not None:
                self._has_come_up(child, now)

    def _has_come_up(self, child: Child, now: float) -> None:
        child.change(ChildState.RUNNING, now)
        self.briefing.changed()
        if isinstance(child.blueprint, MonitorSpec):
            log.info("monitor.started", pid=child.pid, http=child.blueprint.http_listen)
            self.briefing.tell_all(self._children, now)
            return
        log.info("worker.started", worker=child.name, pid=child.pid)
        if self.quiet:
            child.channel.send({"type": "quiet"})

    # deaths

    def reap(self, now: float) -> None:
        """Bury every child that has ended."""
        ours = {child.pid for child in self._children if child.living and child.pid}
        for exit_ in reap(ours | self.births.templates.pids):
            child = self._with_pid(exit_.pid)
            if child is not None:
                self._bury(child, exit_)
            elif not self.births.templates.exited(exit_, now):
                self.births.nursery.found_dead(exit_)
        for child, exit_ in self.births.nursery.born_dead(self.workers):
            self._bury(child, exit_)
        for child in self.births.nursery.abandoned():
            self._bury(child, NEVER_BORN)

    def _with_pid(self, pid: int) -> Child | None:
        """Return the child with a pid; a template's last words may just have told it."""
        return next((one for one in self._children if one.living and one.pid == pid), None)

    def _bury(self, child: Child, exit_: Exit) -> None:
        self._hear(child)  # its last words
        now = time.monotonic()
        by_others = exit_.signal == signal.SIGKILL and not child.killed
        oom = by_others and self._oom.explains(now)
        ending = classify(child, exit_, oom=oom)
        pool = self.monitors
        if child.board is not None:
            pool = self.pools[child.pool]
            at = time.time()
            self.briefing.graves.add(grave_of(child, exit_, ending, now=now, at=at))
            self.exits.setdefault(child.pool, Counter())[ending.reason] += 1
            if crash := crash_of(child, exit_, ending, at=at):
                self.crashes[child.pool] = crash
        self.briefing.sum_up(child, ending.reason)
        pool.bury(child, counts=ending.counts, now=now)
        if exit_ is not NEVER_BORN:  # that has been said, and why
            announce(child, exit_, ending, now=now, succeeded=not (pool.closing or child.solo))
        self.on_death(child, exit_, ending)
        self._wires.unwatch(child)
        child.close()
        self.briefing.changed()

    # the loop's steps

    def tick(self, now: float) -> None:
        """Let the templates, the pools and the monitor take their steps."""
        self.births.templates.tick(now)
        self._welcome(now)
        for pool in (*self.pools.values(), self.monitors):
            pool.tick(now)
        for name in [name for name, pool in self.pools.items() if pool.closing]:
            if not self.pools[name].children and name not in self.plan.pools:
                del self.pools[name]
                log.info("pool.removed", pool=name)
        for child in self._children:
            self._wires.flush(child)

    def check(self, now: float) -> None:
        """Look for workers and monitors that do not do what they should."""
        if now < self._check_at:
            return
        self._check_at = now + CHECK_EVERY
        for child in self.workers:
            check(child, now)
        for child in self.monitors.running:
            if now - child.heard > MONITOR_SILENCE:
                log.warning("monitor.hangs", pid=child.pid)
                child.end(abort(), now)

    def publish(self, now: float) -> None:
        """Tell the monitor of the fleet, when that is due."""
        if not self.briefing.is_due(now):
            return
        self._oom.look(now)
        for child in self._children:
            if child.living and child.pid is not None:
                child.rss = resident(child.pid)
        self.briefing.tell_of_fleet(now)
