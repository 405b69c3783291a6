"""A worker as a process: its loop and its signals."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextvars import Context
from typing import TYPE_CHECKING, Any

import structlog
import uvloop

from queued.daemon import logs
from queued.daemon.channel import Channel
from queued.daemon.worker.offspring import disinherit, forget
from queued.errors import QueuedError
from queued.jobs import payload
from queued.jobs.queue import queue

if TYPE_CHECKING:
    from queued.daemon.worker.worker import Worker

log = structlog.get_logger()

INTERNAL_ERROR = 70
SWITCH_INTERVAL = 0.0005
"""Seconds after which a thread that computes lets another one run. Beside one such job the exchange
took 15 ms at Python's own 5 ms, and takes 4."""


def live(worker: Worker, channel: Channel | None = None) -> int:
    """Run a worker on a loop of its own that signals can end; return the exit code.

    Tasks and threads of jobs that do not end are left behind.
    """
    sys.setswitchinterval(SWITCH_INTERVAL)
    queue.fall_back_to(worker.spec.url)  # what its jobs dispatch goes where they came from
    payload.adopt(worker.spec.policy)
    loop = uvloop.new_event_loop()
    loop.set_exception_handler(_nobody_awaited)
    disinherit(loop, channel)
    try:
        return loop.run_until_complete(_live(worker))
    except QueuedError as error:  # where we raised it tells nobody anything
        log.error("worker.failed", error=str(error))  # noqa: TRY400
        return INTERNAL_ERROR
    except Exception:
        log.exception("worker.broken")
        return INTERNAL_ERROR
    finally:
        logs.sum_up(at_once=True)
        forget()
        loop.set_exception_handler(lambda *_: None)  # of jobs that were given up on
        loop.close()


async def _live(worker: Worker) -> int:
    """Run a worker, with its signals from the loop's first step on.

    uvloop would keep one that came between its handler and that step until the next one comes.
    Before, a signal does what it does to any process: nothing has been begun yet.
    """
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, worker.life.terminate)
    loop.add_signal_handler(signal.SIGINT, worker.life.terminate)
    loop.add_signal_handler(signal.SIGQUIT, worker.life.quit)
    return await worker.run()


def _nobody_awaited(loop: asyncio.AbstractEventLoop, what: dict[str, Any]) -> None:
    """Log what no task awaits, within the context of the task that it comes from.

    Whose context this is called in is chance: that of whichever job runs when the task is
    collected. Before Python 3.12 a task does not tell its own: then the line names no job.
    """
    task: Any = what.get("task") or what.get("future")
    context = task.get_context().copy() if hasattr(task, "get_context") else Context()
    error = what.get("exception")

    def say() -> None:
        if error is None:
            loop.default_exception_handler(what)
        else:
            log.error("task.crashed", message=what.get("message", ""), exc_info=error)

    context.run(say)
