"""How children are made: workers by a template, the monitor by the master itself."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from itertools import count

import structlog

from queued.daemon.channel import Channel, Frame
from queued.daemon.master.child import Child
from queued.daemon.master.deaths import NEVER_BORN, Exit, died_at_fork
from queued.daemon.master.fork import fork
from queued.daemon.master.nursery import Nursery
from queued.daemon.master.pool import Pool
from queued.daemon.master.template import InPlace, Template
from queued.daemon.master.template_process import Programs
from queued.daemon.master.templates import Templates
from queued.daemon.master.wires import Wires
from queued.daemon.scoreboard import Scoreboard
from queued.daemon.spec import MonitorSpec, OwnerName, WorkerSpec
from queued.drivers.states import Lane

log = structlog.get_logger()

BREATHER = 1.0
"""Seconds until the next try, when the system has no process, memory or descriptor to spare."""


class Births:
    """Makes children and learns their pids.

    :param hear: called with a child whose channel has something to read.
    :param bury: called with a child that was asked for and never came to life.
    """

    def __init__(
        self,
        monitor: MonitorSpec,
        programs: Programs,
        wires: Wires,
        hear: Callable[[Child], None],
        bury: Callable[[Child, Exit], None],
        *,
        subreaper: bool,
    ) -> None:
        self.listener: socket.socket | None = None
        """What the next monitor inherits."""
        self.on_template: Callable[[Template | InPlace, str], None] = lambda *_: None
        """Called when a template is ready, and (with the error) when it failed or died."""
        self.nursery = Nursery()
        self.templates = Templates(
            programs, wires.selector, self._hear_template, self._template_died, subreaper=subreaper
        )
        self._install, self._boot = monitor.install, monitor.boot
        self._programs = programs
        self._wires = wires
        self._hear = hear
        self._bury = bury
        self._generations = count(1)
        self._not_before = 0.0

    def worker(self, pool: Pool, index: int, lane: Lane) -> Child | None:
        """Have a worker forked; None: not now (there is no code to run yet, or no descriptor)."""
        template = self.templates.for_code(pool.code)
        return (
            self._try(lambda: self._fork_worker(template, pool, index, lane)) if template else None
        )

    def monitor(self, pool: Pool, index: int, lane: Lane) -> Child | None:
        """Fork a monitor; None: not now (there is no process or descriptor to be had)."""
        return self._try(lambda: self._fork_monitor(pool, index, lane))

    def _try(self, make: Callable[[], Child]) -> Child | None:
        if time.monotonic() < self._not_before:
            return None
        try:
            return make()
        except OSError as error:
            self._take_a_breath(str(error))
            return None

    def _take_a_breath(self, error: str) -> None:
        self._not_before = time.monotonic() + BREATHER
        log.error("child.not_forked", error=error, next=f"tried again in {BREATHER:g} s")

    def _fork_worker(
        self, template: Template | InPlace, pool: Pool, index: int, lane: Lane
    ) -> Child:
        assert isinstance(pool.blueprint, WorkerSpec)
        generation = next(self._generations)
        spec = replace(
            pool.blueprint,
            owner=str(OwnerName(self._install, self._boot, pool.name, index, generation)),
            index=index,
            generation=generation,
            lane=lane,
            concurrency=1 if lane is Lane.SOLO else pool.blueprint.concurrency,
        )
        board = Scoreboard.create(spec.concurrency)
        with self._child(pool, index, lane, spec.owner, board) as (child, theirs):
            template.fork(generation, spec, theirs, board, now=child.started)
        self.nursery.expect(generation, child, template)
        return child

    def _fork_monitor(self, pool: Pool, index: int, lane: Lane) -> Child:
        assert isinstance(pool.blueprint, MonitorSpec)
        spec, listener = pool.blueprint, self.listener
        name = f"{self._install}-{self._boot}-monitor-{next(self._generations)}"
        with self._child(pool, index, lane, name, None) as (child, theirs):
            keep = [theirs.fileno(), *([listener.fileno()] if listener is not None else [])]
            pid = fork(lambda: self._programs.monitor(spec, theirs, listener), keep=keep)
        child.born(pid, time.monotonic())
        return child

    @contextmanager
    def _child(
        self, pool: Pool, index: int, lane: Lane, owner: str, board: Scoreboard | None
    ) -> Iterator[tuple[Child, Channel]]:
        """Make a child, and its end of the channel for the fork; an error leaves nothing open."""
        with ExitStack() as undo:
            if board is not None:
                undo.callback(board.close)
            ours, theirs = Channel.pair()
            undo.callback(ours.close)
            child = Child(
                index=index,
                blueprint=pool.blueprint,
                code=pool.code,
                owner=owner,
                channel=ours,
                board=board,
                now=time.monotonic(),
                lane=lane,
            )
            with closing(theirs):
                yield child, theirs
            self._wires.watch(ours, lambda: self._hear(child))
            undo.pop_all()

    def _hear_template(self, template: Template | InPlace, frame: Frame) -> None:
        match frame["type"]:
            case "ready":
                for warning in frame["warnings"]:
                    log.warning("import.warning", hint=warning)
                self.on_template(template, "")
            case "failed":
                self.on_template(template, frame["error"])
            case "forked":
                if (child := self.nursery.answered(frame["id"])) is not None:
                    child.born(frame["pid"], time.monotonic())
            case "unforked":
                if (child := self.nursery.answered(frame["id"])) is not None:
                    if frame["died"]:
                        self._bury(child, died_at_fork(frame["error"]))
                    else:
                        self._take_a_breath(frame["error"])
                        self._bury(child, NEVER_BORN)

    def _template_died(self, template: Template | InPlace, exit_: Exit) -> None:
        if template.error:
            return  # it has said so itself
        what = "the template died" if template.imported else "the imports ended the process"
        self.on_template(template, template.hung or f"{what} ({exit_.text})")
