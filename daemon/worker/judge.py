"""Decides on the runs that did not just succeed, and says so in the log."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from typing import Any

import structlog

from queued.daemon.logs.veils import veiled
from queued.daemon.worker.meters import WorkerMeters
from queued.daemon.worker.run import Interrupt, Run
from queued.drivers.base import Charge, Fail, Release
from queued.errors import JobTimeout
from queued.jobs.dossier import own_first
from queued.jobs.limits import Limits
from queued.jobs.outcome import OF_PAYLOAD, Decision, Outcome, decide
from queued.jobs.outcome import Fail as FailNow
from queued.jobs.outcome import Retry as RetryLater
from queued.jobs.records import note, trace
from queued.units import format_duration

log = structlog.get_logger()

EVENTS = {
    Outcome.RETRIED: "job.retried",
    Outcome.TIMED_OUT: "job.timed_out",
    Outcome.FAILED: "job.failed",
}
_NO_LIMITS = Limits()


class Judge:
    """Gives a run its settlement.

    :param worker: what people read in notes and records, such as ``emails/2``.
    """

    def __init__(self, worker: str, meters: WorkerMeters) -> None:
        self.decided: Callable[[Run, BaseException, Decision], None] = lambda *_: None
        """Told of each decision: a worker that runs a program's tests hands it on to them."""
        self._worker = worker
        self._meters = meters

    def judge(self, run: Run, error: BaseException | None, now: float) -> Outcome:
        """Settle a run that raised ``error``, or that was interrupted; ``now`` is monotonic."""
        if run.interrupt is Interrupt.RELEASE:
            return self._release(run)
        timed_out = run.interrupt is Interrupt.TIMEOUT
        if timed_out and not isinstance(error, FailNow):
            error = _timeout(run, error)
        assert error is not None
        decision = decide(
            run.reservation,
            error,
            run.plan.limits if run.plan else _NO_LIMITS,
            worker=self._worker,
            hook=run.plan is not None and run.plan.hook,
            now=time.time(),
            timed_out=timed_out,
            readable=run.job is not None,
            dossier=self._dossier(run, now) if run.stack else None,
            veil=run.veil,
        )
        run.settlement = decision.settlement
        final = isinstance(decision.settlement, Fail)
        if isinstance(decision.settlement, Fail) and decision.settlement.hook is not None:
            run.error = error
        if not isinstance(error, RetryLater):  # it asked for it: no error
            self._meters.error(error).value += 1
        seconds = round(now - run.started, 6)
        fields: dict[str, Any] = {
            "message": decision.message,
            "error": decision.error,
            "seconds": seconds,
        }
        of_payload = isinstance(error, OF_PAYLOAD) and run.job is None
        if not of_payload and not isinstance(error, RetryLater):
            fields["exc_info"] = error
        if run.span is not None and not isinstance(error, RetryLater):
            run.span.fail(error, decision.error, "" if of_payload else trace(error, run.veil))
        emit = log.error if final else log.warning
        with veiled(run.veil):  # the sweep may be who calls
            emit(EVENTS[decision.outcome], final=final, **run.names(), **fields)
        self.decided(run, error, decision)
        return decision.outcome

    def _dossier(self, run: Run, now: float) -> dict[str, Any]:
        """Return what is known of the end of a worker that has no master to tell of it."""
        return {
            "ending": "ended itself for a job past its deadline",
            "worker": self._worker,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "reason": "hung",
            "run": run.reservation.counts.runs + 1,
            "ran": round(now - run.started, 3),
            "overran": [run.reservation.id],
            "stack": own_first(run.stack, run.reservation.id),
        }

    def _release(self, run: Run) -> Outcome:
        reservation = run.reservation
        if not run.started:
            run.settlement = Release(reservation.id, reservation.fence, Charge.NONE)
            return Outcome.RELEASED
        text = note(
            Outcome.RELEASED,
            at=time.time(),
            error="handed back: its worker had to end",
            worker=self._worker,
            run=reservation.counts.runs + 1,
        )
        run.settlement = Release(reservation.id, reservation.fence, Charge.RELEASE, text)
        log.info("job.released", **run.names())
        return Outcome.RELEASED


def _timeout(run: Run, error: BaseException | None) -> JobTimeout:
    assert run.plan is not None
    _, _, short = run.plan.name.rpartition(".")
    limit = format_duration(run.plan.timeout)
    timeout = JobTimeout(f"{short} ran longer than its timeout of {limit}")
    timeout.__cause__ = error  # its traceback says where the job was
    return timeout
