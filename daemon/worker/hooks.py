"""``failed()``: run once a job's failure is stored, by this worker or by another one.

The failed record says that the hook is pending before anyone runs it, so that a crash between the
two costs a second run at most. A hook occupies one of the worker's slots: a queue whose jobs all
fail then slows down, instead of piling up hooks without end.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import structlog

from queued.daemon import logs
from queued.daemon.logs.veils import VEIL
from queued.daemon.worker.backend import Backend
from queued.daemon.worker.exchange import retry_pauses
from queued.daemon.worker.run import Run, job_class, unveiler
from queued.daemon.worker.slots import Slots
from queued.daemon.worker.threads import Threads
from queued.drivers.base import Fail, FailedJob
from queued.errors import DriverUnavailable, JobTimeout, QueuedError
from queued.jobs.header import header_of
from queued.jobs.job import Job, has_failed_hook
from queued.jobs.outcome import OF_PAYLOAD, Outcome, exception_of
from queued.jobs.outcome import Fail as FailNow
from queued.jobs.payload import job_name, prepare, verify
from queued.jobs.records import trace
from queued.jobs.text import error_text
from queued.jobs.veil import Veil

if TYPE_CHECKING:
    from queued.daemon.worker.spans import RunSpan, Spans

log = structlog.get_logger()

LIMIT = 30.0
"""Seconds that a hook may take."""
CLAIM = 60.0
"""Seconds after which a claimed hook that was not finished is due again: more than ``LIMIT``."""
PATIENCE = 1.0
"""Seconds that a cancelled hook has to end."""
WAIT_FOR_CODE = 3600.0
"""Seconds after a failure in which a worker of newer code may come that can run its hook."""
MAX_SAID = 100
"""Complaints that are remembered, so that each is made once: they come out of payloads."""


class Hooks:
    """The hooks that this worker runs.

    :param ended: called whenever a slot comes free.
    :param limit: seconds that a hook may take.
    :param spans: None unless this process traces.
    :param slots: where they are shown while they run.
    """

    def __init__(
        self,
        backend: Backend,
        threads: Threads,
        ended: Callable[[], None],
        limit: float = LIMIT,
        spans: Spans | None = None,
        *,
        slots: Slots | None = None,
    ) -> None:
        self._backend = backend
        self._threads = threads
        self._ended = ended
        self._limit = limit
        self._spans = spans
        self._slots = slots or Slots(0, None)
        self._tasks: set[asyncio.Task[None]] = set()
        self._claiming = False
        self._said: set[str] = set()
        """What has been said of hooks that cannot be run here."""
        self.called: Callable[[Job, BaseException | None], None] = lambda *_: None
        """Told of each hook that was called here, and what it raised: for tests, as the judge's."""
        self.stuck = 0
        """Hooks that did not end when their time was up: this worker should be replaced."""

    @property
    def active(self) -> int:
        """How many slots hooks occupy."""
        return len(self._tasks)

    def run(self, run: Run) -> None:
        """Run the hook of a job whose failure has just been stored."""
        assert run.job is not None
        assert run.error is not None
        assert isinstance(run.settlement, Fail)
        error, record = _as_exception(run.error), run.settlement.record
        self._spawn(self._run(run.job, error, record, run.span, run.veil))

    def claim(self) -> None:
        """Run a hook that is due and that no worker has run; one at a time."""
        if not self._claiming:
            self._claiming = True
            self._spawn(self._claim())

    def cancel(self) -> None:
        """Leave the hooks that run: they stay pending, and another worker will run them."""
        for task in self._tasks:
            task.cancel()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("hook.broken", exc_info=error)
        self._ended()

    async def _claim(self) -> None:
        try:
            failed = await self._backend.claim_hook(CLAIM)
        except DriverUnavailable:
            return
        finally:
            self._claiming = False
        if failed is None:
            return
        logs.JOB_ID.set(failed.id)
        logs.JOB.set(job_name(failed.payload))
        logs.ATTEMPT.set(failed.counts.runs)
        try:
            job, veil = _read(failed)
        except OF_PAYLOAD as problem:
            await self._cannot_run(failed, problem)
            return
        job.job_id = failed.id
        job.attempts = failed.counts.runs
        error = exception_of(failed.record)
        await self._run(job, error, failed.record, failed.payload, veil)

    async def _cannot_run(self, failed: FailedJob, error: QueuedError) -> None:
        """Leave a hook to newer code, which may be about to come; after an hour it is given up."""
        text = error_text(error)
        if time.time() - failed.failed_at > WAIT_FOR_CODE:
            log.error("hook.given_up", error=text)
            await self._finish(failed.id, failed.record)
        elif text not in self._said:  # it is due again each minute
            self._said = {*list(self._said)[-MAX_SAID:], text}
            log.warning("hook.impossible", error=text, next="a worker that has the class runs it")

    async def _run(
        self,
        job: Job,
        error: Exception,
        record: bytes,
        cause: RunSpan | bytes | None,
        veil: Veil | None,
    ) -> None:
        assert job.job_id is not None
        VEIL.set(veil)
        logs.JOB_ID.set(job.job_id)
        logs.JOB.set(type(job).__queued__.name)
        logs.ATTEMPT.set(job.attempts)
        if not has_failed_hook(type(job)):
            await self._finish(job.job_id, record)
            return
        span = self._spans.hook(job, cause) if self._spans and cause is not None else None
        outcome: Outcome | None = Outcome.RELEASED  # unless it ends, another worker runs it
        name = type(job).__queued__.name
        with self._slots.hook(job.job_id, name, self._limit + PATIENCE) as shown:
            try:
                await self._call_in_time(job, error, span)
                outcome = None
            finally:
                if span is not None:
                    span.end(outcome)
            shown.ended()
            await self._finish(job.job_id, record)

    async def _call_in_time(self, job: Job, error: Exception, span: RunSpan | None) -> None:
        plain = not inspect.iscoroutinefunction(job.failed)
        call = asyncio.get_running_loop().create_task(self._call(job, error, plain=plain))
        try:
            done, _ = await asyncio.wait({call}, timeout=self._limit)
        finally:
            call.cancel()
        if done:
            raised = call.result()
            self.called(job, raised)
            if raised is not None:
                veil = VEIL.get()
                stack, said = trace(raised, veil), error_text(raised, veil=veil)
                log.error("hook.failed", error=said, exception=stack)
                _fail(span, raised, said, stack)
            return
        log.error("hook.timed_out", limit=self._limit)
        late = JobTimeout(f"failed() took longer than {self._limit:g} s")
        self.called(job, late)
        _fail(span, late, error_text(late))
        await asyncio.wait({call}, timeout=PATIENCE)
        if plain or not call.done():
            self.stuck += 1

    async def _call(self, job: Job, error: Exception, *, plain: bool) -> BaseException | None:
        """Return what the hook raises, whatever it is: none of it may end the loop."""
        try:
            if plain:
                result, raised = await self._threads.call(job.failed, error)
                if raised is not None:
                    return raised
                if inspect.isawaitable(result):
                    await result
            else:
                await job.failed(error)
        except BaseException as raised:  # noqa: BLE001
            return raised
        return None

    async def _finish(self, job_id: str, record: bytes) -> None:
        pauses = retry_pauses()
        while True:
            try:
                await self._backend.finish_hook(job_id, record)
            except DriverUnavailable:
                await asyncio.sleep(pauses())
            else:
                return


def _read(failed: FailedJob) -> tuple[Job, Veil | None]:
    """Return a failed job as its class has it, and what hides its values in texts."""
    verify(failed.payload, failed.queue, failed.id)
    line, _, body = failed.payload.partition(b"\n")
    header = header_of(line)
    cls = job_class(header)
    unveil = unveiler(cls, encrypted=header.encrypted)
    veil = None
    if unveil is not None:
        body, veil = unveil(body)
    return prepare(cls).load(body), veil


def _fail(span: RunSpan | None, error: BaseException, said: str, stack: str = "") -> None:
    if span is not None:
        span.fail(error, said, stack)


def _as_exception(error: BaseException) -> Exception:
    """``failed()`` is promised an Exception, and a job may have ended by SystemExit."""
    if isinstance(error, Exception):
        return error
    wrapped = FailNow(error_text(error))
    wrapped.__cause__ = error
    return wrapped
