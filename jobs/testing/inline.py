"""``Inline``: the daemon's worker in the loop of a test."""

from __future__ import annotations

import itertools
import os
from collections.abc import Coroutine, Sequence
from typing import Any

from queued.daemon.spec import LimitsSpec, OwnerName, WorkerSpec
from queued.daemon.worker.run import Run
from queued.daemon.worker.worker import Worker
from queued.drivers.base import Ack, Driver, Exchange, Lane, Retry
from queued.jobs.job import Job
from queued.jobs.outcome import Decision, Outcome
from queued.jobs.testing.ran import Ran

PATIENCE = 1.0
"""Seconds that a run past its deadline has to end, before it is left behind."""

_numbers = itertools.count(1)


class Inline(Worker):
    """A worker that runs what is ready in one queue, job by job, and ends when nothing is left.

    :param limit: how many jobs it runs at most.
    """

    def __init__(
        self,
        driver: Driver,
        url: str,
        queue: str,
        *,
        limit: int,
        timeout: float | None = None,
        max_tries: int | None = None,
    ) -> None:
        number = next(_numbers)
        owner = OwnerName("0" * 8, f"{os.getpid():08x}", queue, 1, number)
        super().__init__(
            WorkerSpec(
                owner=str(owner),
                pool=queue,
                index=1,
                generation=number,
                url=url,
                concurrency=1,
                max_jobs=limit,
                flags=LimitsSpec(timeout=timeout, max_tries=max_tries),
                kill_grace=PATIENCE,
            ),
            driver,
        )
        self._executor.judge.decided = self._decided
        self._hooks.called = self._hook_called
        self._ran: list[Run] = []
        self._decisions: dict[Run, tuple[BaseException, Decision]] = {}
        self._called: dict[str | None, BaseException | None] = {}

    async def work(self) -> list[Ran]:
        """Run the jobs, and return how each run ended, the first one first."""
        await self.run()
        return [self._told(run) for run in self._ran]

    def _duties(self) -> list[Coroutine[Any, Any, None]]:
        return []  # its back-end's time stands still

    def _take(self, answer: Exchange, lane: Lane) -> None:
        super()._take(answer, lane)
        busy = self._executor.running or self._hooks.active or self._exchanger.outbox
        if not (answer.jobs or busy):
            self.life.leave("empty")

    def _ended(self, run: Run) -> None:
        if run.started:
            self._ran.append(run)
        super()._ended(run)

    def _overran(self, overrunning: Sequence[Run], now: float) -> None:
        super()._overran(overrunning, now)
        for run in overrunning:
            if now >= run.interrupted_at + self.spec.kill_grace:
                self._executor.abandon(run)
                self.life.leave("hung")  # what it holds up, such as the only thread, stays with it

    def _decided(self, run: Run, error: BaseException, decision: Decision) -> None:
        self._decisions[run] = error, decision

    def _hook_called(self, job: Job, error: BaseException | None) -> None:
        self._called[job.job_id] = error

    def _told(self, run: Run) -> Ran:
        error, decision = self._decisions.get(run, (None, None))
        settlement = run.settlement
        if decision is None:
            outcome = Outcome.SUCCEEDED if isinstance(settlement, Ack) else Outcome.RELEASED
        else:
            outcome = decision.outcome
        return Ran(
            job=run.job,
            job_id=run.reservation.id,
            queue=self.spec.pool,
            attempt=run.reservation.counts.runs + 1,
            outcome=outcome,
            error=error,
            delay=settlement.delay if isinstance(settlement, Retry) else None,
            message=decision.message if decision else "",
            hook_called=run.reservation.id in self._called,
            hook_error=self._called.get(run.reservation.id),
        )
