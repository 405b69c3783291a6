"""queued: a job queue and its supervisor."""

from __future__ import annotations

from queued.version import __version__

__all__ = ["__version__"]
