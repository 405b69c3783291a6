"""Folders of our own."""

from __future__ import annotations

from pathlib import Path


def make_private(folder: Path) -> None:
    """Make a folder and what is missing above it, each for its owner alone, whatever the umask.

    ``Path.mkdir(parents=True)`` gives its mode to the last one only: under umask 0 everybody could
    exchange it for another.

    :raises OSError: it cannot be made, or is something else.
    """
    if not folder.parent.exists():
        make_private(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
