"""A daemon on a terminal: closing the window ends it, and SIGHUP from anybody else reloads."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable

from tests.process.harness import QUEUED, Daemon, until
from tests.process.screens import ON_TERMINAL

JOBS = "from queued import Job\n"

CONFIG = """
connection: sqlite:///queued.db
imports: [work]
http: {listen: "127.0.0.1:0"}
queues: {default: {}}
"""


def test_closing_the_terminal_stops_the_daemon(daemon: Callable[..., Daemon]) -> None:
    running = daemon(CONFIG, jobs=JOBS)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", ON_TERMINAL, QUEUED, "start", "-c", running.config]
    running.process = subprocess.Popen(
        command,
        cwd=running.folder,
        env=running.environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    until(running.is_ready, "the daemon to be ready")

    running.signal(signal.SIGHUP)  # the terminal is there: an operator asks for a reload
    until(lambda: running.status()["last_reload"], "the reload")
    assert running.is_ready()

    os.close(ours)
    assert running.wait() == 0
    until(lambda: not running.processes(), "every process to be gone")
