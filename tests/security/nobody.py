"""A daemon that root starts and that becomes somebody else.

Where Python or the source lie in a folder of root's alone (such as /root), the daemon gets a view
of the file system of its own, in which that folder can be passed.
"""

from __future__ import annotations

import os
import pwd
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOBODY = pwd.getpwnam("nobody")


def view() -> list[str]:
    """Return what a command must begin with so that ``nobody`` can run it; may be nothing."""
    needed = [Path(sys.base_prefix), Path(sys.prefix), ROOT]
    hidden = sorted({folder for path in needed for folder in _closed(path)})
    if not hidden:
        return []
    lines = ["set -e", "hold=$(mktemp -d)", "mount --make-rprivate /", "mount -t tmpfs none $hold"]
    top = hidden[0]
    inside = [path for path in needed if path.is_relative_to(top)]
    for number, path in enumerate(inside):
        lines += [f"mkdir $hold/{number}", f"mount --bind {shlex.quote(str(path))} $hold/{number}"]
    lines += [f"mount -t tmpfs -o mode=755 none {shlex.quote(str(top))}"]
    for number, path in enumerate(inside):
        quoted = shlex.quote(str(path))
        lines += [f"mkdir -p {quoted}", f"mount --bind $hold/{number} {quoted}"]
    return ["unshare", "--mount", "sh", "-c", "\n".join([*lines, 'exec "$@"']), "sh"]


def _closed(path: Path) -> Iterator[Path]:
    return (one for one in (path, *path.parents) if not one.stat().st_mode & 0o001)


def prefix() -> list[str]:
    """Return ``view()``, where it works; else the test is skipped, which CI counts as failed."""
    command = view()
    reads = [*command, "setpriv", "--reuid", str(NOBODY.pw_uid), "--clear-groups"]
    tried = subprocess.run(
        [*reads, sys.executable, "-c", "import queued.cli"],
        capture_output=True,
        text=True,
        check=False,
    )
    if os.geteuid() != 0 or tried.returncode:
        pytest.skip(f"needs root, and a Python that nobody can read: {tried.stderr[-200:]}")
    return command
