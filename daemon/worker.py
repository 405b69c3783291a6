"""A worker: reserves the jobs of one queue, runs them, settles them.

The loop is one exchange at a time. While it is under way jobs run and end; the next one settles all
that ended and asks for as many jobs as there are free slots. With nothing to do it waits for a push.

    SERVING → QUIET          told to start no more jobs; what runs goes on
            → LEAVING        ends when nothing runs: told to (within a grace), or of itself
            → HANDING_BACK   cancels what runs, hands it back uncharged, ends
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Coroutine
from contextlib import suppress
from enum import IntEnum
from typing import Any

import structlog
import uvloop

from queued.daemon import logs
from queued.daemon.backend import Backend
from queued.daemon.channel import Channel
from queued.daemon.duty import every
from queued.daemon.exchange import Exchanger, retry_pauses
from queued.daemon.executor import Executor
from queued.daemon.hooks import Hooks
from queued.daemon.listener import Listener
from queued.daemon.meters import WorkerMeters
from queued.daemon.metrics import Metrics
from queued.daemon.offspring import disinherit, forget
from queued.daemon.reach import Reach
from queued.daemon.run import Interrupt, Run
from queued.daemon.scoreboard import Scoreboard
from queued.daemon.spec import WorkerSpec
from queued.daemon.sweep import PATIENCE, Sweep, enforce_deadlines, resident_memory
from queued.daemon.threads import Threads
from queued.drivers import driver_for
from queued.drivers.base import Driver, Lane, Reservation
from queued.errors import DriverUnavailable, OwnerLost

log = structlog.get_logger()

LEASE = 30.0
"""Seconds that a worker's jobs stay its own while nobody hears of it."""
RENEW_EVERY = 20.0
"""Seconds; the monitor renews more often, and this is for when there is none."""
SHORTEST_SLEEP = 0.05
"""Seconds that an idle worker waits in any case: ``sleep: 0`` must not spin."""
SOONEST_DUE = 0.005
"""Seconds that a job which is about to become due is waited for at least."""
HAND_BACK_TIME = 4.0
"""Seconds in which a worker that has to end tries to hand its jobs back: the master kills it after
5. What it could not hand back is reclaimed from it."""
CLOSING_TIME = 1.0
INTERNAL_ERROR = 70


class Phase(IntEnum):
    SERVING = 0
    QUIET = 1
    LEAVING = 2
    HANDING_BACK = 3


class Worker:
    """One incarnation of a worker. ``run`` is its life; the other verbs may be called meanwhile."""

    def __init__(
        self,
        spec: WorkerSpec,
        driver: Driver,
        channel: Channel | None = None,
        board: Scoreboard | None = None,
    ) -> None:
        self.spec = spec
        self.metrics = Metrics()
        self.reach = Reach(driver.name, self.metrics)
        self.backend = Backend(driver, spec.pool, spec.owner, LEASE, self.reach)
        self.threads = Threads(spec.concurrency)
        self.exit_code = 0
        self.reason = ""
        """Why it ends; the first reason stays."""
        self._channel = channel
        self._board = board
        self._meters = WorkerMeters(self.metrics, spec.pool, spec.pool)
        self._exchanger = Exchanger(self.backend, self._meters, self._nap)
        self._executor = Executor(spec, self._meters, board, self.threads, self._ended, self._break)
        self._hooks = Hooks(self.backend, self.threads, self._hook_ended)
        self._listener = Listener(self.backend, max(spec.sleep, SHORTEST_SLEEP), self._kick)
        self._phase = Phase.SERVING
        self._begun = self._second = time.monotonic()
        self._leave_at = self._give_up_at = float("inf")
        self._terminated = False
        self._taken = 0
        self._overrunning: list[Run] = []
        self._kicked = False
        self._sleeper: asyncio.Future[None] | None = None
        self._serving: asyncio.Task[None] | None = None
        self._broken: BaseException | None = None
        self._snapshots = 0

    # what others tell it

    def quiet(self) -> None:
        """Start no more jobs; run on."""
        self._enter(Phase.QUIET)

    def leave(self, reason: str) -> None:
        """End as soon as nothing runs."""
        self.reason = self.reason or reason
        self._enter(Phase.LEAVING)

    def terminate(self) -> None:
        """SIGTERM: end within ``shutdown_grace``; asked again, at once."""
        if self._terminated:
            self.hand_back("drained")
        self._terminated = True
        self._leave_at = time.monotonic() + self.spec.shutdown_grace
        self.leave("drained")

    def hand_back(self, reason: str) -> None:
        """End now: cancel what runs and give it back."""
        self.reason = self.reason or reason
        if self._phase is Phase.HANDING_BACK:
            return
        now = time.monotonic()
        self._leave_at = now + PATIENCE
        self._give_up_at = now + HAND_BACK_TIME
        for run in tuple(self._executor.running):
            self._executor.interrupt(run, Interrupt.RELEASE, now)
        self._hooks.cancel()
        self._enter(Phase.HANDING_BACK)

    def _enter(self, phase: Phase) -> None:
        if phase > self._phase:
            self._phase = phase
            log.debug("worker.phase", phase=phase.name.lower(), reason=self.reason)
        self._kick()

    # its life

    async def run(self) -> int:
        """Serve until told to end, or until a limit of the spec is reached; return the exit code.

        :raises Exception: a fault of ours. What was held is reclaimed from outside.
        """
        loop = asyncio.get_running_loop()
        if self._channel is not None:
            loop.add_reader(self._channel.fileno(), self._listen_to_master)
            self._channel.send({"type": "ready"})
        sweep = Sweep(self._sweep, self._meters.lag, self._break)
        duties = [loop.create_task(duty) for duty in self._duties()]
        self._serving = loop.create_task(self._serve())
        try:
            await asyncio.wait({self._serving})
            if self._broken is not None:
                raise self._broken
            if not self._serving.cancelled():
                self._serving.result()
        finally:
            sweep.stop()
            for task in duties:
                task.cancel()
            await self._close()
        return self.exit_code

    def _duties(self) -> list[Coroutine[Any, Any, None]]:
        return [every(RENEW_EVERY, self._renew)]

    async def _close(self) -> None:
        self._hooks.cancel()
        self._listener.ignore()
        self.threads.close()
        self._report()
        log.debug("worker.ended", reason=self.reason)
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSING_TIME):
                await self.backend.driver.close()
        if self._channel is not None:
            asyncio.get_running_loop().remove_reader(self._channel.fileno())
            self._channel.send({"type": "leaving", "reason": self.reason})
            until = time.monotonic() + CLOSING_TIME
            while self._channel.pending and time.monotonic() < until:
                await asyncio.sleep(0.005)
                self._channel.flush()

    async def _renew(self) -> None:
        if not await self.backend.renew() and self._phase is not Phase.HANDING_BACK:
            log.error("owner.lost", owner=self.spec.owner)
            self.hand_back("owner_lost")

    async def _serve(self) -> None:
        try:
            await self._open()
            while not self._finished():
                await self._idle(await self._turn())
        except OwnerLost as error:
            log.error("owner.lost", owner=self.spec.owner, error=str(error))  # noqa: TRY400
            self.hand_back("owner_lost")
            while self._executor.running:
                await self._sleep(None)

    async def _open(self) -> None:
        pauses = retry_pauses()
        while self._phase < Phase.LEAVING:
            try:
                await self.backend.open()
            except DriverUnavailable:
                await self._nap(pauses())
            else:
                return

    def _finished(self) -> bool:
        if self._executor.running or self._exchanger.outbox:
            return False
        hooks = self._hooks.active > 0 and not self._hooks.stuck
        return self._phase is Phase.HANDING_BACK or (self._phase is Phase.LEAVING and not hooks)

    # one turn of the loop

    async def _turn(self) -> float | None:
        """Settle what ended and reserve what fits.

        Return for how many seconds to wait for a push; None: for none, no slot is free.
        """
        want, lane = self._wanted()
        if not want and not self._exchanger.outbox:
            return None
        answer = await self._exchanger.exchange(want, lane)
        self._store(answer.stored)
        jobs, _, next_due, hooks_due, _ = answer.exchange
        self._take(jobs)
        if hooks_due and self._wanted()[0]:
            self._hooks.claim()
        if lane is Lane.SOLO and want and not jobs:
            self._lane_is_empty()
        if len(jobs) >= want:
            return None
        sleep = max(self.spec.sleep, SHORTEST_SLEEP)
        return sleep if next_due is None else min(sleep, max(next_due, SOONEST_DUE))

    @property
    def _reserving(self) -> bool:
        return self._phase is Phase.SERVING and not self._overrunning

    def _wanted(self) -> tuple[int, Lane]:
        """Return how many jobs to ask for, and in which lane."""
        if not self._reserving:
            return 0, self.spec.lane
        want = self.spec.concurrency - len(self._executor.running) - self._hooks.active
        if self.spec.max_jobs is not None:
            want = min(want, self.spec.max_jobs - self._taken)
        return max(want, 0), self.spec.lane

    def _store(self, stored: list[Run]) -> None:
        for run in stored:
            self._executor.stored(run)
            if run.error is not None and run.job is not None:
                self._hooks.run(run.job, run.error)

    def _take(self, jobs: list[Reservation]) -> None:
        if not self._reserving:  # it has changed while the call was under way
            for job in jobs:
                self._executor.refuse(job)
            return
        for job in jobs:
            self._executor.start(job)
        self._taken += len(jobs)
        if self.spec.max_jobs is not None and self._taken >= self.spec.max_jobs:
            self.leave("max_jobs")

    def _lane_is_empty(self) -> None:
        """A temporary worker for suspects has nothing more to do."""
        if not self._executor.running:
            self.leave("empty")

    async def _idle(self, seconds: float | None) -> None:
        """Wait until something happens: a run ends, a push, ``seconds`` pass, an order comes."""
        if seconds is None or not self._reserving:
            self._listener.ignore()
        elif not self.spec.polling:
            self._listener.listen()
        await self._sleep(seconds)
        if self._listener.woken() and not self._wanted()[0]:
            with suppress(DriverUnavailable):
                await self.backend.wake()  # somebody else's turn

    async def _sleep(self, seconds: float | None) -> None:
        """Sleep until kicked (at once, if that was meanwhile) or ``seconds`` have passed."""
        if not self._kicked:
            loop = asyncio.get_running_loop()
            self._sleeper = loop.create_future()
            timer = None if seconds is None else loop.call_later(seconds, self._kick)
            try:
                await self._sleeper
            finally:
                self._sleeper = None
                if timer is not None:
                    timer.cancel()
        self._kicked = False

    def _kick(self) -> None:
        self._kicked = True
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)

    async def _nap(self, seconds: float) -> None:
        """Wait while the back-end is away; a change of phase ends it."""
        phase, until = self._phase, time.monotonic() + seconds
        while self._phase is phase and (left := until - time.monotonic()) > 0:
            await self._sleep(left)

    def _ended(self, run: Run) -> None:
        self._exchanger.outbox.append(run)
        self._kick()

    def _hook_ended(self) -> None:
        if self._hooks.stuck:
            self.leave("stuck_hook")
        self._kick()

    def _break(self, error: BaseException) -> None:
        self._broken = self._broken or error
        assert self._serving is not None
        self._serving.cancel()

    # what depends on time

    def _sweep(self, now: float) -> None:
        if self._board is not None:
            self._board.beat(now)
        self._watch_overrun(enforce_deadlines(self._executor, now), now)
        if now >= self._leave_at:
            self._time_is_up()
        if now >= self._give_up_at and self._serving is not None:
            log.warning("jobs.not_handed_back", jobs=len(self._exchanger.outbox))
            self._serving.cancel()
        if now >= self._second:
            self._second = now + 1.0
            self._check_limits(now)
            self._report()

    def _watch_overrun(self, overrunning: list[Run], now: float) -> None:
        for run in overrunning:
            if run not in self._overrunning:
                late = round(now - run.deadline, 3)
                log.error("job.overran", job_id=run.reservation.id, late=late)
        if self._overrunning and not overrunning:
            self._kick()
        self._overrunning = overrunning

    def _time_is_up(self) -> None:
        if self._phase is Phase.HANDING_BACK:
            for run in tuple(self._executor.running):
                self._executor.abandon(run)
        else:
            self.hand_back(self.reason)

    def _check_limits(self, now: float) -> None:
        spec = self.spec
        if spec.max_time is not None and now - self._begun >= spec.max_time:
            self.leave("max_time")
        if spec.max_memory is not None and resident_memory() >= spec.max_memory:
            self.leave("max_memory")

    def _report(self) -> None:
        if self._channel is None:
            return
        self._executor.measure(time.monotonic())
        self._snapshots += 1
        data = self.metrics.snapshot()
        frame = {"type": "snapshot", "seq": self._snapshots, "data": data}
        self._channel.send(frame, droppable=True)

    def _listen_to_master(self) -> None:
        assert self._channel is not None
        for frame in self._channel.receive():
            if frame.get("type") == "quiet":
                self.quiet()
        if self._channel.closed:
            asyncio.get_running_loop().remove_reader(self._channel.fileno())
            log.warning("master.gone")
            self.hand_back("orphaned")


def run_worker(spec: WorkerSpec, channel: Channel, board: Scoreboard) -> int:
    """Be a worker of a master: the life of a process forked for it. Return its exit code.

    Threads of jobs that do not end may be left, so the caller ends the process by ``os._exit``.
    """
    os.environ.update(spec.env)
    if spec.nice:
        os.nice(spec.nice)
    logs.configure(spec.log, {"worker": spec.worker})
    return live(Worker(spec, driver_for(spec.url), channel, board), channel)


def live(worker: Worker, channel: Channel | None = None) -> int:
    """Run a worker on a loop of its own, deaf to nothing that may end it; return the exit code."""
    loop = uvloop.new_event_loop()
    loop.add_signal_handler(signal.SIGTERM, worker.terminate)
    loop.add_signal_handler(signal.SIGINT, worker.terminate)
    loop.add_signal_handler(signal.SIGQUIT, worker.hand_back, "drained")
    disinherit(loop, channel)
    try:
        return loop.run_until_complete(worker.run())
    except Exception:
        log.exception("worker.broken")
        return INTERNAL_ERROR
    finally:
        forget()
