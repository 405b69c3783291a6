"""A worker as a process: its loop and its signals."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import structlog
import uvloop

from queued.daemon.channel import Channel
from queued.daemon.worker.offspring import disinherit, forget
from queued.errors import QueuedError
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
    loop = uvloop.new_event_loop()
    loop.add_signal_handler(signal.SIGTERM, worker.life.terminate)
    loop.add_signal_handler(signal.SIGINT, worker.life.terminate)
    loop.add_signal_handler(signal.SIGQUIT, worker.life.quit)
    disinherit(loop, channel)
    try:
        return loop.run_until_complete(worker.run())
    except QueuedError as error:  # where we raised it tells nobody anything
        log.error("worker.failed", error=str(error))  # noqa: TRY400
        return INTERNAL_ERROR
    except Exception:
        log.exception("worker.broken")
        return INTERNAL_ERROR
    finally:
        forget()
        loop.set_exception_handler(lambda *_: None)  # of jobs that were given up on
        loop.close()
