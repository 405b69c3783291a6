"""A worker: reserves the jobs of one queue, runs them, settles them.

The loop is one exchange at a time. While it is under way jobs run and end; the next one settles
all that ended and asks for as many jobs as there are free slots. When nothing more is ready it
listens: the back-end waits for a push and then reserves, so that the jobs come with the news of
them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any

import structlog

from queued.daemon import logs
from queued.daemon.channel import Channel
from queued.daemon.duty import every
from queued.daemon.metrics import Metrics
from queued.daemon.reach import Reach
from queued.daemon.scoreboard import Scoreboard
from queued.daemon.spec import WorkerSpec
from queued.daemon.worker import tracing
from queued.daemon.worker.backend import Backend
from queued.daemon.worker.exchange import Answer, Exchanger, retry_pauses
from queued.daemon.worker.executor import Executor
from queued.daemon.worker.forwarder import Forwarder
from queued.daemon.worker.ghosts import LOOK_EVERY, Ghosts
from queued.daemon.worker.hooks import Hooks
from queued.daemon.worker.lifecycle import Lifecycle, Phase
from queued.daemon.worker.link import Link
from queued.daemon.worker.listener import Listener
from queued.daemon.worker.meters import WorkerMeters
from queued.daemon.worker.run import Interrupt, Run
from queued.daemon.worker.sleeper import Sleeper
from queued.daemon.worker.slow import SlowRuns
from queued.daemon.worker.sweep import Sweep, enforce_deadlines, resident_memory
from queued.daemon.worker.threads import Threads
from queued.daemon.worker.whereabouts import whereabouts
from queued.drivers.base import Driver, Exchange, Lane
from queued.errors import DriverUnavailable, OwnerLost

log = structlog.get_logger()

LEASE = 30.0
"""Seconds that a worker's jobs stay its own while nobody hears of it."""
RENEW_EVERY = 20.0
"""Seconds; the monitor renews more often, and this is for when there is none."""
SHORTEST_SLEEP = 0.05
"""Seconds that an idle worker waits in any case: ``sleep: 0`` must not spin."""
SOONEST_DUE = 0.005
"""Seconds that are waited for a job which is about to become due."""
CLOSING_TIME = 1.0
"""Seconds that the driver has to close its connections."""


class Worker:
    """One incarnation of a worker. ``run`` is its life, ``life`` says when that ends."""

    def __init__(
        self,
        spec: WorkerSpec,
        driver: Driver,
        channel: Channel | None = None,
        board: Scoreboard | None = None,
    ) -> None:
        self.spec = spec
        self.metrics = Metrics()
        self.life = Lifecycle(spec.shutdown_grace, self._entered)
        self.exit_code = 0
        self._meters = WorkerMeters(self.metrics, spec.pool, spec.pool)
        self._reach = Reach(driver.name, self.metrics)
        self._backend = Backend(
            driver, spec.pool, spec.owner, LEASE, self._reach, limit=spec.rate_limit
        )
        self._exchanger = Exchanger(
            self._backend, self._meters, self._nap, ending=lambda: self.life.ending
        )
        self._threads = Threads(spec.concurrency)
        spans = tracing.spans(spec)
        self._executor = Executor(
            spec,
            self._meters,
            self._threads,
            ended=self._ended,
            broken=self._break,
            board=board,
            spans=spans,
        )
        self._ghosts = Ghosts(
            self._backend, self._exchanger, self._executor.running, self._look_now
        )
        self._slow = SlowRuns(self._executor.running, spec.slow_after) if spec.slow_after else None
        self._hooks = Hooks(
            self._backend,
            self._threads,
            self._hook_ended,
            spans=spans,
            slots=self._executor.slots,
        )
        self._sleeper = Sleeper()
        self._forwarder = Forwarder(self._backend, self._sleeper.wake)
        self._sleep = max(spec.sleep, SHORTEST_SLEEP)
        self._listener = Listener(self._exchanger, self._sleep, self._sleeper.wake)
        self._hook_has_ended = False
        self._look_at = 0.0
        """When to ask for jobs, if nobody says earlier that there are any."""
        self._limited = False
        """A token of the rate limit is to come first, of which no push can tell."""
        self._link = Link(channel, self.life.quiet, self._orphaned) if channel else None
        self._board = board
        self._taken = 0
        self._overrunning: Sequence[Run] = ()
        self._begun = self._next_second = time.monotonic()
        self._serving: asyncio.Task[None] | None = None
        self._chores: list[asyncio.Task[None]] = []
        self._fault: BaseException | None = None

    # its life

    async def run(self) -> int:
        """Serve until told to end, or until a limit of the spec is reached; return the exit code.

        :raises Exception: a fault of ours. What was held is reclaimed from outside.
        """
        loop = asyncio.get_running_loop()
        if self._link is not None:
            self._link.open()
        sweep = Sweep(self._sweep, self._meters.lag, self._break)
        self._serving = loop.create_task(self._serve())
        try:
            await asyncio.wait({self._serving})
            if self._fault is not None:
                raise self._fault
            if not self._serving.cancelled():
                self._serving.result()
        finally:
            sweep.stop()
            await self._close()
        return self.exit_code

    def _duties(self) -> list[Coroutine[Any, Any, None]]:
        """What is done beside the loop, for as long as the back-end is open."""
        return [every(RENEW_EVERY, self._renew), every(LOOK_EVERY, self._ghosts.look)]

    async def _renew(self) -> None:
        if not await self._backend.renew() and self.life.phase < Phase.HANDING_BACK:
            log.error("owner.lost", owner=self.spec.owner)
            self.life.hand_back("owner_lost")

    async def _close(self) -> None:
        self._hooks.cancel()
        self._forwarder.cancel()
        self._listener.stop()
        self._threads.close()
        for task in self._chores:
            task.cancel()
        if self._chores:
            await asyncio.wait(self._chores, timeout=CLOSING_TIME)
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSING_TIME):
                await self._backend.driver.close()
        if self._link is not None:
            self._executor.measure(time.monotonic())
            self._link.report(self.metrics, droppable=False)
            await self._link.close(self.life.reason)

    async def _serve(self) -> None:
        structlog.contextvars.bind_contextvars(queue=self.spec.pool)  # jobs inherit it
        try:
            await self._open()
            await self._turn()
            while not self._finished():
                await self._idle()
                await self._turn()
        except OwnerLost as error:
            log.error("owner.lost", owner=self.spec.owner, error=str(error))  # noqa: TRY400
            self.life.hand_back("owner_lost")
            while self._executor.running:
                await self._sleeper.sleep()

    async def _open(self) -> None:
        pauses = retry_pauses()
        while not self.life.ending:
            try:
                await self._backend.open()
            except DriverUnavailable:
                await self._nap(pauses())
            else:
                create_task = asyncio.get_running_loop().create_task
                self._chores = [create_task(duty) for duty in self._duties()]
                return

    def _finished(self) -> bool:
        if self._executor.running or self._exchanger.outbox or self._exchanger.unanswered:
            return False
        if self.life.phase is Phase.LEAVING:
            if self._forwarder.active:
                return False
            return self._hooks.active == 0 or self._hooks.stuck > 0
        return self.life.phase is Phase.HANDING_BACK

    # one turn of the loop

    async def _turn(self) -> None:
        """Settle what ended, reserve what fits, start it; or start what was heard of."""
        answer = self._listener.heard() or await self._exchange()
        if answer is None:
            return
        self._store(answer)
        if answer.exchange.outbox:
            self._forwarder.go()
        self._take(answer.exchange, answer.lane)
        if answer.exchange.hooks_due and self._wanted()[0] > self._listener.pending:
            self._hooks.claim()
        self._look_at = self._next_look(answer)

    async def _exchange(self) -> Answer | None:
        want, lane = self._wanted()
        if self._listener.pending:
            if want and lane is self._listener.lane and time.monotonic() < self._look_at:
                want = 0  # it has asked for them
            else:
                self._listener.stop()
        hook_ended, self._hook_has_ended = self._hook_has_ended, False
        if want or self._exchanger.to_do or hook_ended:  # the next one may be due
            return await self._exchanger.exchange(want, lane)
        return None

    def _next_look(self, answer: Answer) -> float:
        now, due, held_for = time.monotonic(), answer.exchange.next_due, answer.exchange.held_for
        if answer.want:
            self._limited = answer.exchange.limited
            if held_for is None and len(answer.exchange.jobs) >= answer.want:
                return now  # there may be more
        if held_for is not None:
            due = held_for
        latest = now + self._sleep if answer.want else self._look_at
        return latest if due is None else min(latest, now + max(due, SOONEST_DUE))

    @property
    def _reserving(self) -> bool:
        return self.life.phase is Phase.SERVING and not self._overrunning

    def _wanted(self) -> tuple[int, Lane]:
        """Return how many jobs to ask for, and in which lane."""
        if not self._reserving:
            return 0, self.spec.lane
        hooks = self._hooks.active + sum(run.error is not None for run in self._exchanger.outbox)
        want = self.spec.concurrency - len(self._executor.running) - hooks
        if self.spec.max_jobs is not None:
            want = min(want, self.spec.max_jobs - self._taken)
        return max(want, 0), self.spec.lane

    def _store(self, answer: Answer) -> None:
        for run in answer.settled:
            self._executor.stored(run)
            if run.error is None:
                continue
            if run.job is not None and run.reservation.id not in answer.lost:
                self._hooks.run(run)
            else:
                self._sleeper.wake()  # the slot that was kept for its hook is free

    def _take(self, answer: Exchange, lane: Lane) -> None:
        """Start what was reserved in ``lane``."""
        if not self._reserving:  # that has changed while the call was under way
            self._executor.refuse(answer.jobs)
            return
        self._executor.start(answer.jobs)
        self._taken += len(answer.jobs)
        if self.spec.max_jobs is not None and self._taken >= self.spec.max_jobs:
            self.life.leave("max_jobs")
        idle = not self._executor.running and not self._hooks.active
        if lane is self.spec.lane is Lane.SOLO and idle and not answer.suspects_at_limit:
            self.life.leave("empty")

    async def _idle(self) -> None:
        """Wait until something happens: a run ends, a push, an order, or it is time to look."""
        if self._exchanger.to_do or self._hook_has_ended:
            self._sleeper.wake()  # it came with what was just heard: one wake-up told of both
            await self._sleeper.sleep()
            return
        if not self._wanted()[0]:
            await self._sleeper.sleep()
            return
        left = self._look_at - time.monotonic()
        if left <= 0:
            return  # what was just taken runs while the next exchange is under way
        if not (self._listener.pending or self.spec.polling or self._limited):
            await asyncio.sleep(0)  # short jobs end in that time, and their exchange asks for more
            if not self._exchanger.outbox:
                self._listen(left, *self._wanted())
        pending = self._listener.pending and self._listener.until <= self._look_at
        await self._sleeper.sleep(None if pending else left)

    def _listen(self, seconds: float, want: int, lane: Lane) -> None:
        """Listen for jobs; beside others for one only, which is held up if these block the loop."""
        if want:
            beside = self._executor.running or self._hooks.active
            self._listener.listen(seconds, 1 if beside else want, lane)

    def _look_now(self) -> None:
        """Ask for jobs at once; a listen that is pending is cut short for it."""
        self._look_at = 0.0
        self._sleeper.wake()

    async def _nap(self, seconds: float) -> None:
        """Wait while the back-end is away; a change of phase ends it."""
        phase, until = self.life.phase, time.monotonic() + seconds
        while self.life.phase is phase and (left := until - time.monotonic()) > 0:
            await self._sleeper.sleep(left)
        self._sleeper.wake()  # what was slept through here is still to be seen to

    # what it is told

    def _entered(self, phase: Phase) -> None:
        if phase is Phase.HANDING_BACK:
            now = time.monotonic()
            for run in tuple(self._executor.running):
                self._executor.interrupt(run, Interrupt.RELEASE, now)
            self._hooks.cancel()
        self._sleeper.wake()

    def _ended(self, run: Run) -> None:
        self._exchanger.outbox.append(run)
        self._sleeper.wake()

    def _hook_ended(self) -> None:
        if self._hooks.stuck:
            self.life.leave("stuck_hook")
        self._hook_has_ended = True
        self._sleeper.wake()

    def _orphaned(self) -> None:
        self.life.hand_back("orphaned")

    def _break(self, error: BaseException) -> None:
        self._fault = self._fault or error
        if self._serving is not None:
            self._serving.cancel()

    # what depends on time

    def _sweep(self, now: float) -> None:
        if self._board is not None:
            self._board.beat(now)
        self._overran(enforce_deadlines(self._executor, now), now)
        if self._slow is not None:
            self._slow.look(now)
        self.life.tick(now)
        if now >= self.life.abandon_at:
            for run in tuple(self._executor.running):
                self._executor.abandon(run)
        if now >= self.life.give_up_at and self._serving is not None:
            log.warning("jobs.not_handed_back")
            self._serving.cancel()
        if now >= self._next_second:
            self._next_second = now + 1.0
            self._check_limits(now)
            logs.sum_up()
            if self._link is not None:
                self._executor.measure(now)
                self._link.report(self.metrics)

    def _overran(self, overrunning: Sequence[Run], now: float) -> None:  # noqa: ARG002 - below
        """Start no more jobs beside one that does not end: its master will kill this worker."""
        if bool(self._overrunning) != bool(overrunning):
            self._sleeper.wake()
        if self._board is not None and (overrunning or self._overrunning):
            self._board.recorder.places(whereabouts(overrunning))
        self._overrunning = overrunning

    def _check_limits(self, now: float) -> None:
        spec = self.spec
        if spec.max_time is not None and now - self._begun >= spec.max_time:
            self.life.leave("max_time")
        if spec.max_memory is not None and resident_memory() >= spec.max_memory:
            self.life.leave("max_memory")
