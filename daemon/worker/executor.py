"""Runs jobs: each in a task of its own, with its own context, on a fresh instance.

    prepare   what class, queue and flags say; the scoreboard is told before any user code runs;
              payload → instance
    handle    awaited, or called in a thread
    conclude  how it ended → the one settlement that the back-end is asked for; counted, logged

A run always ends in a settlement, whatever the job does or raises: ``SystemExit`` and a job's own
``CancelledError`` are errors like others.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Iterable
from threading import get_ident
from typing import TYPE_CHECKING

import structlog

from queued.daemon import logs
from queued.daemon.logs.veils import VEIL
from queued.daemon.scoreboard import Scoreboard
from queued.daemon.spec import WorkerSpec
from queued.daemon.worker import offspring
from queued.daemon.worker.judge import Judge
from queued.daemon.worker.meters import WorkerMeters
from queued.daemon.worker.run import Interrupt, Plan, Run, job_class
from queued.daemon.worker.sizes import Sizes
from queued.daemon.worker.slots import Slots
from queued.daemon.worker.threads import Threads
from queued.drivers.base import NO_COUNTS, Ack, Charge, Release, Reservation
from queued.jobs import payload, registry
from queued.jobs.header import header_of, plain_header
from queued.jobs.job import Job
from queued.jobs.limits import resolve
from queued.jobs.outcome import Outcome
from queued.policy import Policy

if TYPE_CHECKING:
    from queued.daemon.worker.spans import Spans

log = structlog.get_logger()

UNKNOWN = "unknown"
"""The label of jobs whose class this worker does not have: their names come from outside."""
MAX_PLANS = 1_000
"""A class can be named by any number of headers, though our own producers write one."""


class Executor:
    """The runs of one worker, from reservation to settlement.

    :param ended: called with each run that has its settlement.
    :param broken: called with an exception of our own.
    :param spans: None unless this process traces.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        meters: WorkerMeters,
        threads: Threads,
        *,
        ended: Callable[[Run], None],
        broken: Callable[[BaseException], None],
        board: Scoreboard | None = None,
        spans: Spans | None = None,
    ) -> None:
        self.running: set[Run] = set()
        self.expect: Callable[[float], None] = lambda _: None
        """Told the deadline of each run before any user code of it runs, where there is no board
        that a master reads."""
        self._spec = spec
        self._meters = meters
        self._threads = threads
        self._ended = ended
        self._broken = broken
        self._board = board
        self._spans = spans
        self.judge = Judge(spec.worker, meters)
        self.slots = Slots(spec.concurrency, board)
        self._plans: dict[bytes, Plan] = {}
        meters.begin([UNKNOWN, *registry.of_queue(spec.pool)])
        self._sizes = Sizes(spec.pool, spec.policy or Policy())
        self._log_all = spec.log.jobs == "all"

    # what the worker asks for

    def start(self, reservations: Iterable[Reservation]) -> None:
        """Run each job in a new task."""
        loop = asyncio.get_running_loop()
        observe = self._meters.wait.observe
        measure = self._meters.payload.observe
        notable = self._sizes.notable
        for reservation in reservations:
            run = Run(reservation)
            self.running.add(run)
            waited = reservation.reserved_at - reservation.ready_at
            # The back-end's clock may be set back. max() costs 0.1 us.
            observe(waited if waited > 0.0 else 0.0)  # noqa: FURB136
            size = len(reservation.payload)
            measure(size)
            if size > notable:
                self._sizes.tell(reservation.payload)
            # Not create_task: that costs 0.4 us more, and would ask a job's own task factory.
            run.task = asyncio.Task(self._run(run), loop=loop, name=reservation.id)

    def refuse(self, reservations: Iterable[Reservation]) -> None:
        """Hand jobs back that are not to be started any more."""
        for reservation in reservations:
            run = Run(reservation)
            run.settlement = Release(reservation.id, reservation.fence, Charge.NONE)
            self._ended(run)

    def interrupt(self, run: Run, why: Interrupt, now: float) -> None:
        """End a run as soon as it lets us; may be repeated, and the first reason stays."""
        if run.interrupt is None:
            run.interrupt = why
            run.interrupted_at = now
        if run.started and not run.in_thread and run.task is not None:
            run.cancelled = True
            run.task.cancel()  # one that has not started sees the interrupt and ends by itself

    def abandon(self, run: Run, stack: str = "") -> None:
        """Give an interrupted run its settlement although its code still runs.

        :param stack: where that is, if this worker ends for it.
        """
        if run.settlement is None:
            run.stack = stack
            self._conclude(run, None, done=False)

    def stored(self, run: Run) -> None:
        """Free the slot of a run whose settlement the back-end has (or has no use for)."""
        if run.slot < 0:
            return
        if self._board is not None:
            if isinstance(run.settlement, Release):
                self._board.release(run.slot)
            else:
                self._board.clear(run.slot)
        self.slots.give_back(run.slot)

    def measure(self, now: float) -> None:
        """Bring the gauge and the busy time up to date."""
        self._meters.in_flight.value = len(self.running)
        running = sum(now - run.started for run in self.running if run.started)
        busy = self._meters.busy
        # A plain function's start moves when it gets its thread, and no counter may go back.
        busy.value = max(busy.value, self._meters.seconds_run() + running)

    # a run, step by step

    async def _run(self, run: Run) -> None:
        error: BaseException | None = None
        done = False
        if offspring.strayed:
            offspring.end_strayed()
        try:
            if run.interrupt is None:
                plan, job = self._prepare(run)
                if plan.plain:
                    await self._handle_in_thread(run, job)
                else:
                    await job.handle()
                done = not run.cancelled
        except BaseException as caught:  # noqa: BLE001 - whatever it is, it is the job's
            error = caught
        if offspring.strayed:
            offspring.end_strayed()
        try:
            if run.settlement is None:  # else it was given up on meanwhile
                self._conclude(run, error, done=done)
        except BaseException as fault:  # noqa: BLE001 - ours
            self._broken(fault)
        error = None  # its traceback refers to this frame: leave no circle

    def _prepare(self, run: Run) -> tuple[Plan, Job]:
        now = run.started = time.monotonic()
        reservation = run.reservation
        counts = reservation.counts
        attempt = 1 if counts is NO_COUNTS else counts.runs + 1
        logs.JOB_ID.set(reservation.id)
        logs.ATTEMPT.set(attempt)
        if self._spans is not None:
            run.span = self._spans.run(reservation, attempt)
        if payload.signer is not None:  # before anything in it is believed
            payload.verify(reservation.payload, self._spec.pool, reservation.id)
        header, _, body = reservation.payload.partition(b"\n")
        plan = run.plan = self._plans.get(header) or self._find_plan(header)
        logs.JOB.set(plan.name)
        if plan.timeout and not plan.plain:  # the clock of a thread starts with it
            run.deadline = now + plan.timeout
        run.slot = self.slots.take()
        if self._board is not None:
            self._board.begin(
                run.slot,
                reservation.id,
                plan.name,
                reservation.fence,
                now,
                run.deadline,
                plan.tries,
                plan.retry_in(counts),
            )
        elif run.deadline:
            self.expect(run.deadline)
        if plan.unveil is not None:
            body, run.veil = plan.unveil(body)
            VEIL.set(run.veil)
        job = run.job = plan.load(body)
        job.job_id = reservation.id
        job.attempts = attempt
        return plan, job

    def _find_plan(self, header: bytes) -> Plan:
        """Plan for all jobs of a header. Code does not change under a worker that runs."""
        header = plain_header(header)
        return self._plans.get(header) or self._make_plan(header)

    def _make_plan(self, header: bytes) -> Plan:
        said = header_of(header)
        cls = job_class(said)
        name = cls.__queued__.name
        limits = resolve(cls, self._spec.limits, self._spec.flags)
        plan = Plan.make(cls, said, limits, self._meters.of_class(name))
        if len(self._plans) < MAX_PLANS:
            self._plans[header] = plan
        return plan

    async def _handle_in_thread(self, run: Run, job: Job) -> None:
        run.in_thread = True
        try:
            result, error = await self._threads.call(job.handle, begun=lambda: self._begun(run))
        finally:
            run.in_thread = False
        if error is not None:
            try:
                raise error
            finally:
                error = None  # as above
        if result is not None and inspect.isawaitable(
            result
        ):  # a plain function that returned a coroutine
            await result

    def _begun(self, run: Run) -> None:
        """Start the clock of a plain function; called in its thread."""
        assert run.plan is not None
        run.thread = get_ident()
        run.started = time.monotonic()
        if run.plan.timeout:
            run.deadline = run.started + run.plan.timeout
        if self._board is not None:
            self._board.start_clock(run.slot, run.started, run.deadline)
        elif run.deadline:
            self.expect(run.deadline)

    def _conclude(self, run: Run, error: BaseException | None, *, done: bool) -> None:
        """Settle a run. ``done``: its code returned, and was not cancelled, however late it is."""
        now = time.monotonic()
        if done:
            # As Ack(...), at half the cost.
            run.settlement = tuple.__new__(Ack, (run.reservation.id, run.reservation.fence))
            self._count_success(run, now)
            if run.span is not None:
                run.span.end(Outcome.SUCCEEDED)
        else:
            outcome = self.judge.judge(run, error, now)
            self._count(run, outcome, now)
            if run.span is not None:
                run.span.end(outcome)
        if run.slot >= 0 and self._board is not None:
            self._board.finish(run.slot, done)
        self.running.discard(run)
        self._ended(run)

    def _count_success(self, run: Run, now: float) -> None:
        plan, reservation = run.plan, run.reservation
        assert plan is not None
        seconds = now - run.started
        plan.meters.succeeded.value += 1
        plan.meters.run.observe(seconds)
        waited = reservation.reserved_at - reservation.enqueued_at
        self._meters.end_to_end.observe(waited + seconds if waited > 0.0 else seconds)
        if self._log_all:
            log.info("job.succeeded", seconds=round(seconds, 6))

    def _count(self, run: Run, outcome: Outcome, now: float) -> None:
        if run.started:
            meters = run.plan.meters if run.plan else self._meters.of_class(UNKNOWN)
            meters.outcomes[outcome].value += 1
            meters.run.observe(now - run.started)
