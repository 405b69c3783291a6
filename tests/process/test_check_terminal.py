"""queued check on a terminal: a tree for each job, as wide as the window."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.process.harness import Daemon
from tests.process.screens import CONTROL, Screen

CONFIG = """
imports: [work]
http: false
defaults: {timeout: 60}
queues: {default: {}}
"""
JOBS = """
import time
from queued import Job

class PollPrinter(Job):
    api_token: str
    async def handle(self):
        time.sleep(1)
    async def failed(self, exception): ...

class PrintLabels(Job):
    async def handle(self): ...
    async def failed(self, exception): ...
"""


@pytest.mark.parametrize("columns", [60, 200])
def test_a_tree_for_each_job(daemon: Callable[..., Daemon], columns: int) -> None:
    one = daemon(CONFIG, jobs=JOBS, PYTHONUTF8="1")
    screen = Screen(one, "check", columns=columns)
    try:
        assert screen.wait() == 1
        lines = CONTROL.sub("", screen.read()).replace("\r", "").splitlines()
    finally:
        screen.close()
    assert lines[0] == "✗ work.PollPrinter  default, 3 tries, timeout 1m"
    assert max(map(len, lines[:-1])) <= columns
    text = " ".join(line.strip("│├└─ ") for line in lines)
    assert "✗ secret-field  work.py:6: PollPrinter.api_token looks like a secret" in text
    assert "! blocking-call  work.py:8: PollPrinter.handle calls time.sleep" in text
    assert "instead: await asyncio.sleep(...)" in text
    assert "✓ work.PrintLabels  default, 3 tries, timeout 1m ✓ unfocused, not-idempotent" in text
    assert lines[-1] == "queue.yaml: 1 problem, 1 warning"


def test_a_terminal_without_unicode(daemon: Callable[..., Daemon]) -> None:
    one = daemon(CONFIG, jobs=JOBS, PYTHONUTF8="0", LC_ALL="C", PYTHONCOERCECLOCALE="0")
    one.environment |= {"PYTHONIOENCODING": "ascii"}
    screen = Screen(one, "check")
    try:
        assert screen.wait() == 1
        text = screen.read()
    finally:
        screen.close()
    assert text.isascii()
    assert "Traceback" not in text
    assert "secret-field" in text
