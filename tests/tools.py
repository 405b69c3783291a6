"""Programs that some tests need: missing ones skip a test, but not where all must run."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest


def required(program: str) -> str:
    """Return the path of a program; without it the test is skipped, or fails in CI."""
    path = shutil.which(program) or shutil.which(program, path=Path(sys.executable).parent)
    if path is None:
        if os.environ.get("QUEUED_TEST_ALL") == "1":
            pytest.fail(f"{program} is missing, and QUEUED_TEST_ALL=1 lets no test be skipped")
        pytest.skip(f"{program} is not installed")
    return path
