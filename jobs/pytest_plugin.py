"""The pytest plugin: one fixture. pytest loads it wherever queued is installed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from queued.jobs.testing.fake import FakeQueue


@pytest.fixture
def fake_queue() -> Iterator[FakeQueue]:
    """Keep what the program dispatches in this process, for the test to look at and to run."""
    from queued.jobs.testing.fake import fake  # noqa: PLC0415 - only tests that use it pay for it

    with fake() as queue:
        yield queue
