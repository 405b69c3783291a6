"""Runs jobs: each in a task of its own, with its own context, on a fresh instance.

    plan     what its class, queue and flags say; the scoreboard is told before any user code runs
    decode   payload → instance
    handle   awaited, or called in a thread
    judge    how it ended → the one settlement that the back-end is asked for
    account  scoreboard, metrics, log

A run always ends in a settlement, whatever the job does or raises: ``SystemExit`` and a job's own
``CancelledError`` are errors like others.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

import structlog

from queued.daemon import logs
from queued.daemon.meters import WorkerMeters
from queued.daemon.run import Interrupt, Plan, Run
from queued.daemon.scoreboard import Scoreboard
from queued.daemon.spec import WorkerSpec
from queued.daemon.threads import Threads
from queued.drivers.base import Ack, Charge, Fail, Release, Reservation
from queued.errors import CorruptPayload, JobTimeout, UnknownJob
from queued.jobs import registry
from queued.jobs.job import Job, has_failed_hook
from queued.jobs.limits import Limits, resolve
from queued.jobs.outcome import Decision, Outcome, decide, note, trace
from queued.jobs.outcome import Fail as FailNow
from queued.jobs.outcome import Retry as RetryLater
from queued.jobs.payload import decode, job_name
from queued.units import format_duration

log = structlog.get_logger()

UNKNOWN = "unknown"
"""The label of jobs whose class this worker does not have: their names come from outside."""


class Executor:
    """The runs of one worker, from reservation to settlement.

    :param ended: called with each run that has its settlement.
    :param broken: called with an exception of our own.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        meters: WorkerMeters,
        board: Scoreboard | None,
        threads: Threads,
        ended: Callable[[Run], None],
        broken: Callable[[BaseException], None],
    ) -> None:
        self.running: set[Run] = set()
        self._spec = spec
        self._meters = meters
        self._board = board
        self._threads = threads
        self._ended = ended
        self._broken = broken
        self._free = list(range(spec.concurrency - 1, -1, -1))
        self._plans: dict[type[Job], Plan] = {}
        self._unknown = meters.of_class(UNKNOWN)
        self._busy_since = 0.0
        self._log_all = spec.log.jobs == "all"

    # what the worker asks for

    def start(self, reservation: Reservation) -> None:
        """Run a job in a new task."""
        run = Run(reservation)
        self.running.add(run)
        self._meters.wait.observe(reservation.reserved_at - reservation.ready_at)
        task = self._run(run)
        run.task = asyncio.get_running_loop().create_task(task, name=reservation.id)

    def refuse(self, reservation: Reservation) -> None:
        """Hand a job back that is not to be started any more."""
        run = Run(reservation)
        run.settlement = Release(reservation.id, reservation.fence, Charge.NONE)
        self._ended(run)

    def interrupt(self, run: Run, why: Interrupt, now: float) -> None:
        """End a run as soon as it lets us; may be repeated, and the first reason stays."""
        if run.interrupt is None:
            run.interrupt = why
            run.interrupted_at = now
        if run.started and not run.in_thread and run.task is not None:
            run.task.cancel()  # one that has not started sees the interrupt and ends by itself

    def abandon(self, run: Run) -> None:
        """Give an interrupted run its settlement although its code still runs."""
        if run.settlement is None:
            self._conclude(run, None)

    def stored(self, run: Run) -> None:
        """Free the slot of a run whose settlement the back-end has."""
        if run.slot < 0:
            return
        if self._board is not None:
            if isinstance(run.settlement, Release):
                self._board.release(run.slot)
            else:
                self._board.clear(run.slot)
        self._free.append(run.slot)

    def measure(self, now: float) -> None:
        """Bring the gauges and the busy time up to date."""
        self._meters.in_flight.value = len(self.running)
        for run in self.running:
            self._count_busy(run, now)
        self._busy_since = now

    # a run, step by step

    async def _run(self, run: Run) -> None:
        error: BaseException | None = None
        try:
            if run.interrupt is None:
                self._plan(run)
                run.job = self._decode(run)
                await self._handle(run, run.job)
        except BaseException as caught:  # noqa: BLE001 - whatever it is, it is the job's
            error = caught
        try:
            if run.settlement is None:  # else it was given up on meanwhile
                self._conclude(run, error)
        except BaseException as fault:  # noqa: BLE001 - ours
            self._broken(fault)
        error = None  # its traceback refers to this frame: leave no circle

    def _plan(self, run: Run) -> None:
        now = time.monotonic()
        run.started = now
        reservation = run.reservation
        name = job_name(reservation.payload)
        logs.JOB_ID.set(reservation.id)
        logs.JOB.set(name)
        logs.ATTEMPT.set(reservation.counts.runs + 1)
        if name is None:
            return  # decoding says what is wrong
        cls = registry.lookup(name)
        plan = run.plan = self._plans.get(cls) or self._make_plan(cls, name)
        if not plan.plain and plan.timeout:
            run.deadline = now + plan.timeout
        run.slot = self._free.pop()
        if self._board is not None:
            limits = plan.limits
            retry_in = limits.delay(reservation.counts.tries + 1)
            self._board.begin(
                run.slot, reservation.id, name, now, run.deadline, limits.max_tries, retry_in
            )

    def _make_plan(self, cls: type[Job], name: str) -> Plan:
        limits = resolve(cls, self._spec.limits, self._spec.flags)
        plan = self._plans[cls] = Plan(
            name,
            limits,
            timeout=limits.timeout or 0.0,
            plain=not inspect.iscoroutinefunction(cls.handle),
            hook=has_failed_hook(cls),
            meters=self._meters.of_class(name),
        )
        return plan

    def _decode(self, run: Run) -> Job:
        job = decode(run.reservation.payload)
        job.job_id = run.reservation.id
        job.attempts = run.reservation.counts.runs + 1
        return job

    async def _handle(self, run: Run, job: Job) -> None:
        assert run.plan is not None
        if not run.plan.plain:
            await job.handle()
            return
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
        if inspect.isawaitable(result):  # a plain function that returned a coroutine
            await result

    def _begun(self, run: Run) -> None:
        """The deadline of a plain function starts with its thread (where this is called)."""
        assert run.plan is not None
        run.started = time.monotonic()
        if run.plan.timeout:
            run.deadline = run.started + run.plan.timeout
        if self._board is not None:
            self._board.start_clock(run.slot, run.started, run.deadline)

    # its end

    def _conclude(self, run: Run, error: BaseException | None) -> None:
        now = time.monotonic()
        if error is None and run.interrupt is None:
            run.settlement = Ack(run.reservation.id, run.reservation.fence)
            outcome = Outcome.SUCCEEDED
        else:
            outcome = self._judge(run, error)
        if run.slot >= 0 and self._board is not None:
            self._board.finish(run.slot, outcome is Outcome.SUCCEEDED)
        self._account(run, outcome, now)
        self.running.discard(run)
        self._ended(run)

    def _judge(self, run: Run, error: BaseException | None) -> Outcome:
        """Decide on a run that did not just succeed; log it."""
        reservation, plan = run.reservation, run.plan
        at = time.time()
        if run.interrupt is Interrupt.RELEASE:
            run.settlement = self._release(run, at)
            return Outcome.RELEASED
        timed_out = run.interrupt is Interrupt.TIMEOUT
        if timed_out and not isinstance(error, FailNow):
            error = self._timeout(run, error)
        decision = decide(
            reservation,
            error,
            plan.limits if plan else Limits(),
            worker=self._spec.worker,
            hook=plan is not None and plan.hook,
            now=at,
            timed_out=timed_out,
        )
        run.settlement = decision.settlement
        assert error is not None
        if not isinstance(error, RetryLater):
            self._meters.error(error).value += 1
        if isinstance(decision.settlement, Fail) and decision.settlement.hook is not None:
            run.error = error
        self._log(run, decision, error)
        return decision.outcome

    def _release(self, run: Run, at: float) -> Release:
        reservation = run.reservation
        if not run.started:
            return Release(reservation.id, reservation.fence, Charge.NONE)
        text = note(
            Outcome.RELEASED,
            at=at,
            error="handed back: its worker had to end",
            worker=self._spec.worker,
            run=reservation.counts.runs + 1,
        )
        log.info("job.released", **_names(run))
        return Release(reservation.id, reservation.fence, Charge.RELEASE, text)

    def _timeout(self, run: Run, error: BaseException | None) -> JobTimeout:
        assert run.plan is not None
        _, _, short = run.plan.name.rpartition(".")
        limit = format_duration(run.plan.timeout)
        timeout = JobTimeout(f"{short} ran longer than its timeout of {limit}")
        timeout.__cause__ = error  # its traceback says where the job was
        return timeout

    def _account(self, run: Run, outcome: Outcome, now: float) -> None:
        if not run.started:
            return
        meters = run.plan.meters if run.plan else self._unknown
        meters.outcomes[outcome].value += 1
        seconds = now - run.started
        meters.run.observe(seconds)
        self._count_busy(run, now)
        if outcome is Outcome.SUCCEEDED:
            reservation = run.reservation
            waited = reservation.reserved_at - reservation.enqueued_at
            self._meters.end_to_end.observe(waited + seconds)
            if self._log_all:
                log.info("job.succeeded", seconds=round(seconds, 6))

    def _count_busy(self, run: Run, now: float) -> None:
        if run.started:
            self._meters.busy.value += now - max(run.started, self._busy_since)

    def _log(self, run: Run, decision: Decision, error: BaseException) -> None:
        final = isinstance(decision.settlement, Fail)
        fields = {"message": decision.message, "error": decision.error, **_names(run)}
        if run.started:
            fields["seconds"] = round(time.monotonic() - run.started, 6)
        if not isinstance(error, RetryLater | UnknownJob | CorruptPayload):
            fields["exception"] = trace(error)
        emit = log.error if final else log.warning
        emit(f"job.{decision.outcome}", final=final, **fields)


def _names(run: Run) -> dict[str, Any]:
    # Named again, since a run that is given up on is logged outside of its own context.
    return {"job_id": run.reservation.id, "job": run.plan.name if run.plan else None}
