"""Telling the user's code from ours in a traceback."""

from __future__ import annotations

from types import FrameType


def module_of(frame: FrameType) -> str:
    """Return the name of the module whose code runs in a frame; empty if it has none."""
    name = frame.f_globals.get("__name__", "")
    return name if isinstance(name, str) else ""


def is_ours(frame: FrameType) -> bool:
    """Say whether a frame runs code of queued."""
    return module_of(frame).partition(".")[0] == "queued"
