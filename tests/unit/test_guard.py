"""The guard of a worker without a master: it ends a process whose loop stands still for good."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys, time
from queued.daemon.worker import guard
guard.SILENCE, guard.PERIOD = 3.0, 0.5
running = {{{running}}}
one = guard.Guard(running, grace=1.0)
one.start()
until = time.monotonic() + 5.0
while time.monotonic() < until:
    time.sleep(0.01)
    {turn}
one.stop()
sys.exit(7)
"""
RUN = "type('Run', (), {'deadline': 0.0})()"


@pytest.mark.parametrize(
    ("turn", "running", "code"),
    [
        ("time.sleep(50)", "", 1),
        ("one.beat(time.monotonic())", "", 7),
        ("pass", RUN, 7),  # it may block the loop for as long as it likes
    ],
)
def test_a_loop_that_stands_still_while_no_job_runs(turn: str, running: str, code: int) -> None:
    program = PROGRAM.format(turn=turn, running=f"{running}," if running else "*()")
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code, done.stderr
    if code == 1:
        assert "most recent call first" in done.stderr
