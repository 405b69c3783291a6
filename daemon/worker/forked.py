"""A worker of a master: what a process forked for it does."""

from __future__ import annotations

import os

from queued.daemon import logs
from queued.daemon.channel import Channel
from queued.daemon.scoreboard import Scoreboard
from queued.daemon.spec import WorkerSpec
from queued.daemon.worker import tracing
from queued.daemon.worker.process import live
from queued.daemon.worker.worker import Worker
from queued.drivers import driver_for


def run_worker(spec: WorkerSpec, channel: Channel, board: Scoreboard) -> int:
    """Be a worker of a master: the life of a process forked for it. Return its exit code.

    Threads of jobs that do not end may be left, so the caller ends the process by ``os._exit``.
    """
    os.environ.update(spec.env)
    if spec.nice:
        os.nice(spec.nice)
    context = {"worker": spec.worker, "queue": spec.pool}
    logs.configure(spec.log, context, copy=board.recorder.line)
    board.recorder.arm()
    tracing.set_up(spec.tracing)
    code = live(Worker(spec, driver_for(spec.url), channel, board), channel)
    tracing.flush()
    return code
