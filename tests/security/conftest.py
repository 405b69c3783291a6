"""Fixtures of the security tests."""

from __future__ import annotations

from tests.process.conftest import daemon

__all__ = ["daemon"]
