"""Fixtures that several unit tests have in common."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.working import Shop


@pytest.fixture
def shop() -> Iterator[Shop]:
    """Yield a worker's surroundings, closed after the test."""
    one = Shop()
    yield one
    one.close()
