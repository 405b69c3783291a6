"""What ``ps`` shows of each process: its role, and nothing of the command line.

A URL with a password may have been given as a flag, where every user of the machine could read it
for as long as the process runs. The title takes the place of the arguments, and only theirs: the
environment, which lies behind them in memory, stays as it is.
"""

from __future__ import annotations

import os

import setproctitle


def show(role: str) -> None:
    """Call this process ``queued: role``, such as ``worker emails/2``; takes about 1 µs."""
    setproctitle.setproctitle(f"queued: {role}")


def _keep_out_of_the_environment() -> None:
    before = os.environ.get("SPT_NOENV")
    os.environ["SPT_NOENV"] = "1"  # looked at once, by the first call
    setproctitle.getproctitle()
    if before is None:
        del os.environ["SPT_NOENV"]


_keep_out_of_the_environment()
