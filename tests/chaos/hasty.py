"""``queued start`` in a hurry: what takes 30 s takes 3 s, in the same proportions.

Run as a program, with the arguments of ``queued``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from queued.daemon.master import overruns
from queued.daemon.monitor import monitor
from queued.daemon.monitor.janitor import Janitor
from queued.daemon.spec import MonitorSpec
from queued.daemon.worker import hooks, worker
from queued.drivers.redis import link
from queued.jobs import outcome
from tests.process.harness import Daemon

ROOT = Path(__file__).parents[2]
TIMES = 10
LEASE = worker.LEASE / TIMES
"""Seconds."""


class HastyDaemon(Daemon):
    """A daemon of this program."""

    program = (sys.executable, Path(__file__))

    def __init__(self, folder: Path, config: str, *, jobs: str = "", **environment: str) -> None:
        super().__init__(folder, config, jobs=jobs, **{"PYTHONPATH": str(ROOT), **environment})


def main() -> None:
    for module, name in (
        (worker, "LEASE"),
        (worker, "RENEW_EVERY"),
        (worker, "LOOK_EVERY"),
        (monitor, "RENEW_EVERY"),
        (monitor, "REAP_EVERY"),
        (link, "CALL_WITHIN"),
    ):
        setattr(module, name, getattr(module, name) / TIMES)
    if "HASTY_MASTER" in os.environ:  # else a worker that a test stops would be killed for it
        overruns.SILENCE /= TIMES
        # Not in the same proportion: what ends a worker whose hook blocks is no quicker here.
        hooks.CLAIM /= TIMES / 2
        outcome.HOOK_AFTER /= TIMES / 2
        defaults = list(hooks.Hooks.__init__.__defaults__ or ())
        defaults[defaults.index(hooks.LIMIT)] = hooks.LIMIT / TIMES
        hooks.Hooks.__init__.__defaults__ = tuple(defaults)
    for made, name in ((MonitorSpec, "lease"), (Janitor, "second_look")):
        defaults = made.__init__.__kwdefaults__
        assert defaults
        defaults[name] /= TIMES
    from queued.cli import main as queued

    sys.exit(queued())


if __name__ == "__main__":
    main()
