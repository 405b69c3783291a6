"""Running jobs in a test's own loop, with the daemon's worker on a back-end in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from queued.drivers.base import Counts, Driver, NewJob
from queued.drivers.memory import MemoryDriver, Store
from queued.jobs.ids import new_id
from queued.jobs.job import Job
from queued.jobs.payload import pack
from queued.jobs.registry import DEFAULT_QUEUE
from queued.jobs.testing.ran import Ran
from queued.jobs.testing.store import Duration, FakeStore, seconds

T = TypeVar("T")


async def run(
    job: Job,
    *,
    attempts: int = 1,
    timeout: Duration | None = None,  # noqa: ASYNC109 - the job's, as its class says
    max_tries: int | None = None,
    id: str | None = None,  # noqa: A002 - the receipt's word
) -> Ran:
    """Run a job once, as the daemon's worker does, and return how it ended.

    It is encoded, and a fresh instance is made of that; ``handle`` is given its time; what it
    raises is judged by its class's settings, and after the last try ``failed`` is called. What it
    dispatches goes where it always goes: use the fake queue beside it.

    :param attempts: which run it is; those before count as tries that failed.
    :param timeout: instead of the class's: seconds, ``"5m"`` or a timedelta; 0: none.
    :param max_tries: instead of the class's.
    :param id: what ``self.job_id`` is; None: a new one.
    :raises InvalidJob: a field is wrong.
    """
    from queued.jobs.testing.inline import Inline  # noqa: PLC0415 - loads the daemon's worker

    if attempts < 1:
        raise ValueError(f"attempts: expected 1 (the first run) or more, got {attempts}")
    queue = job.queue or DEFAULT_QUEUE
    store = Store()
    driver = MemoryDriver("memory://", store)
    job_id = id or new_id()
    new = NewJob(job_id, pack(job, queue, job_id))
    await driver.enqueue(queue, [new])
    store.queues[queue].jobs[new.id].counts = Counts(errors=attempts - 1)
    worker = Inline(
        driver,
        "memory://",
        queue,
        limit=1,
        timeout=None if timeout is None else seconds(timeout),
        max_tries=max_tries,
    )
    [ran] = await worker.work()
    return ran


def run_now(
    job: Job,
    *,
    attempts: int = 1,
    timeout: Duration | None = None,
    max_tries: int | None = None,
    id: str | None = None,  # noqa: A002 - the receipt's word
) -> Ran:
    """Do what ``run`` does, for tests that are plain functions."""
    return in_a_loop(
        "run", run, job, attempts=attempts, timeout=timeout, max_tries=max_tries, id=id
    )


async def work_off(
    store: FakeStore, driver: Driver, url: str, limit: int, *, travel: bool
) -> list[Ran]:
    """Run what a store holds: see ``FakeQueue.drain``."""
    from queued.jobs.testing.inline import Inline  # noqa: PLC0415 - as above

    runs: list[Ran] = []
    while True:
        before = len(runs)
        for queue in store.due():
            if len(runs) >= limit:
                raise AssertionError(
                    f"{limit} jobs were run and others are left: does a job dispatch itself?"
                    " drain(limit=...) sets how many may be run"
                )
            runs += await Inline(driver, url, queue, limit=limit - len(runs)).work()
        if len(runs) > before:
            continue
        next_due = store.next_due()
        if not travel or next_due is None or next_due <= 0:
            return runs
        store.travel(next_due)


def in_a_loop(
    name: str, function: Callable[..., Coroutine[Any, Any, T]], *args: Any, **kw: Any
) -> T:
    """Run a coroutine function in a loop of its own, which leaves no trace in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            return runner.run(function(*args, **kw))
    raise RuntimeError(f"this test runs in an event loop: await {name}(...) instead")
