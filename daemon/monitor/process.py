"""The monitor as a process: its log, its loop and its exit code."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket

import structlog
import uvloop

from queued.daemon import logs
from queued.daemon.channel import Channel
from queued.daemon.monitor.monitor import Monitor
from queued.daemon.spec import MonitorSpec
from queued.jobs import payload

log = structlog.get_logger()


def run_monitor(spec: MonitorSpec, channel: Channel, listener: socket.socket | None) -> int:
    """Run the monitor in this process until SIGTERM, or until the master is gone.

    :param listener: bound and listening; None: no HTTP.
    :returns: the process's exit code.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the group: the master decides
    logs.configure(spec.log, {"process": "monitor"})
    payload.adopt(spec.policy)
    # Thousands of values come each second and go without any circle: to look for those doubles
    # what a page of metrics costs.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(Monitor(spec, channel, listener).run())
    except Exception:
        log.exception("monitor.broken")
        return os.EX_SOFTWARE
    finally:
        logs.sum_up(at_once=True)
    return os.EX_OK
