"""queued: a job queue and its supervisor.

    from queued import Job, dispatch

    class SendEmail(Job):
        queue = "emails"
        to: str

        async def handle(self) -> None: ...

    await dispatch(SendEmail(to="a@b.c"))

pydantic and the back-end's library are loaded at the first dispatch, not here.
"""

from __future__ import annotations

from queued import errors
from queued.drivers import register_driver
from queued.drivers.sequel import Batch
from queued.jobs.chains import BatchReceipt, ChainReceipt, batch, chain
from queued.jobs.function import job
from queued.jobs.job import Job
from queued.jobs.outcome import Fail, Retry
from queued.jobs.queue import Queue, dispatch, queue
from queued.jobs.receipt import Receipt
from queued.jobs.work import Link
from queued.version import __version__

__all__ = [
    "Batch",
    "BatchReceipt",
    "ChainReceipt",
    "Fail",
    "Job",
    "Link",
    "Queue",
    "Receipt",
    "Retry",
    "__version__",
    "batch",
    "chain",
    "dispatch",
    "errors",
    "job",
    "queue",
    "register_driver",
]
