"""``queued work``: a worker that is complete by itself, without a master or a monitor.

It renews its own lease, promotes what is due and reclaims the jobs of lost hosts, runs suspects
when nothing else runs, and ends itself when a job can be neither finished nor cancelled.
"""

from __future__ import annotations

import faulthandler
import os
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any

import structlog

from queued.daemon import logs
from queued.daemon.duty import every
from queued.daemon.monitor.janitor import Janitor
from queued.daemon.recorder import MAX_STACK
from queued.daemon.spec import OwnerName, WorkerSpec
from queued.daemon.worker import tracing
from queued.daemon.worker.ghosts import LOOK_EVERY
from queued.daemon.worker.guard import Guard
from queued.daemon.worker.lifecycle import PATIENCE
from queued.daemon.worker.process import INTERNAL_ERROR, live
from queued.daemon.worker.run import Run
from queued.daemon.worker.whereabouts import whereabouts
from queued.daemon.worker.worker import Worker
from queued.drivers import driver_for
from queued.drivers.base import Driver, Exchange, Lane
from queued.environment import redact

log = structlog.get_logger()

RENEW_EVERY = 10.0
THREAD_PATIENCE = 0.5
"""Seconds that threads have to end with the worker; those of jobs that hang never do."""


class Standalone(Worker):
    """A worker on its own."""

    def __init__(self, spec: WorkerSpec, driver: Driver) -> None:
        super().__init__(spec, driver)
        self._janitor = Janitor(driver, self.metrics)
        self._janitor.reach = self._reach
        self._suspects = False
        self._alone = False
        self._grace = PATIENCE + spec.kill_grace
        """Seconds after a deadline in which a job ends, or its worker does."""
        self._guard = Guard(self._executor.running, self._grace)
        self._executor.expect = self._guard.expect

    async def run(self) -> int:
        self._guard.start()
        try:
            return await super().run()
        finally:
            self._guard.stop()

    def _duties(self) -> list[Coroutine[Any, Any, None]]:
        queues = [self.spec.pool]
        return [
            every(RENEW_EVERY, self._renew),
            every(LOOK_EVERY, self._ghosts.look),
            self._janitor.run(lambda: queues, ours=self.spec.owner),
        ]

    def _sweep(self, now: float) -> None:
        self._guard.beat(now)
        super()._sweep(now)

    # suspects run alone, each between two ordinary batches

    async def _turn(self) -> None:
        await super()._turn()
        if self._suspects and not self._limited and self._wanted()[0]:
            self._look_now()

    def _wanted(self) -> tuple[int, Lane]:
        want, lane = super()._wanted()
        busy = self._executor.running or self._hooks.active
        if busy and (self._suspects or self._alone):
            return 0, lane
        return (min(want, 1), Lane.SOLO) if self._suspects else (want, lane)

    def _take(self, answer: Exchange, lane: Lane) -> None:
        super()._take(answer, lane)
        if lane is Lane.SOLO:
            self._suspects = answer.suspects_at_limit and not answer.jobs
            self._alone = bool(answer.jobs)
        else:
            self._suspects, self._alone = answer.suspects, False

    # there is no master that would kill it

    def _overran(self, overrunning: Sequence[Run], now: float) -> None:
        for run in overrunning:
            if run not in self._overrunning:
                coming = f"this worker ends in {self.spec.kill_grace:g} s"
                log.warning("job.overran", **run.names(), next=coming)
        super()._overran(overrunning, now)
        hopeless = [run for run in overrunning if now >= run.interrupted_at + self._grace]
        if hopeless and not self.exit_code:
            self.exit_code = INTERNAL_ERROR
            stack = f"{whereabouts(hopeless)}\n\n{_all_threads()}"[:MAX_STACK]
            log.error("worker.hung", overran=[run.reservation.id for run in hopeless], stack=stack)
            self.life.hand_back("hung")
            for run in hopeless:  # as timeouts; what else runs is handed back
                self._executor.abandon(run, stack)


def _all_threads() -> str:
    """Return the stack of every thread, as faulthandler writes it."""
    with tempfile.TemporaryFile() as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        return file.read(MAX_STACK).decode(errors="replace").rstrip()


def work(spec: WorkerSpec) -> int:
    """Be a worker in the foreground; return the exit code. Job classes have been imported.

    An owner and its names are made here: whatever the spec says of them is replaced.
    """
    faulthandler.enable()
    os.environ.update(spec.env)
    if spec.nice:
        os.nice(spec.nice)
    generation = 0
    while True:
        generation += 1
        owner = OwnerName(
            secrets.token_hex(4), secrets.token_hex(4), spec.pool, os.getpid(), generation
        )
        spec = replace(
            spec, owner=str(owner), index=owner.index, generation=generation, standalone=True
        )
        logs.configure(spec.log, {"worker": spec.worker, "queue": spec.pool})
        if generation == 1:  # a process has one provider
            tracing.set_up(spec.tracing)
        log.info(
            "worker.started",
            concurrency=spec.concurrency,
            backend=redact(spec.url),
        )
        worker = Standalone(spec, driver_for(spec.url))
        code = live(worker)
        log.info("worker.ended", reason=worker.life.reason or "broken", exit_code=code)
        if worker.life.reason != "owner_lost" or worker.life.told:
            tracing.flush()
            return _without_threads(code)
        # The machine slept, say: its jobs went to others, and it begins anew under another name.


def _without_threads(code: int) -> int:
    """Return the exit code; end the process if a job's thread would keep it for ever."""
    until = time.monotonic() + THREAD_PATIENCE
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(max(0.0, until - time.monotonic()))
            if thread.is_alive():
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
    return code
