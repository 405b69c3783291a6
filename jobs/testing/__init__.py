"""Testing programs that dispatch jobs, and the jobs: no server, no daemon, no waiting.

    def test_signup(fake_queue):                    # the pytest plugin comes with queued
        sign_up("a@b.c")
        fake_queue.assert_dispatched(SendWelcome, to="a@b.c", times=1)

    async def test_send_welcome():
        ran = await run(SendWelcome(to="a@b.c"), attempts=3)
        assert ran.succeeded

``fake()`` is the fixture for other test runners. Nothing of the program imports this package; it
stands above the daemon, whose worker it runs jobs with.
"""

from __future__ import annotations

from queued.jobs.testing.dispatched import Dispatched
from queued.jobs.testing.fake import (
    FakeQueue,
    assert_dispatched,
    assert_not_dispatched,
    assert_nothing_dispatched,
    fake,
)
from queued.jobs.testing.ran import Ran
from queued.jobs.testing.running import run, run_now

__all__ = [
    "Dispatched",
    "FakeQueue",
    "Ran",
    "assert_dispatched",
    "assert_not_dispatched",
    "assert_nothing_dispatched",
    "fake",
    "run",
    "run_now",
]
