"""What the monitor is told: the fleet, each child's counts, and the dead whose jobs it settles.

Everything is told again until it is done or newer, and all of it to a new monitor, so it does not
matter which monitor dies when, nor which frame is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from queued.daemon.master import report
from queued.daemon.master.child import Child
from queued.daemon.master.obituary import Graves
from queued.daemon.master.pool import Pool
from queued.daemon.master.totals import Totals

PUBLISH_EVERY = 1.0
PUBLISH_AFTER_CHANGE = 0.05
"""Seconds that a change waits for others before the monitor is told."""


class Briefing:
    """Speaks to the newest monitor that runs.

    :param monitors: the monitor's pool.
    :param pools: those of the workers; the mapping may change.
    """

    def __init__(self, monitors: Pool, pools: Mapping[str, Pool]) -> None:
        self.graves = Graves()
        self.config_ok = True
        """Whether the last reload succeeded."""
        self.reloads = 0
        self._monitors = monitors
        self._pools = pools
        self._totals = Totals()
        self._due = 0.0
        self._changed = False

    @property
    def listener(self) -> Child | None:
        """The monitor that is told; None: there is none."""
        running = self._monitors.running
        return running[-1] if running else None

    def changed(self) -> None:
        """Tell the monitor soon: something is not as it was."""
        self._changed = True

    def is_due(self, now: float) -> bool:
        """Whether the fleet should be told of: each second, and soon after a change."""
        if self._changed:
            self._changed = False
            self._due = min(self._due, now + PUBLISH_AFTER_CHANGE)
        return now >= self._due

    def tell_of_fleet(self, now: float) -> None:
        """Say who lives, how the pools are, and who is dead and not settled."""
        self._due = now + PUBLISH_EVERY
        if self.listener is None:
            return
        frame = report.fleet_frame(
            self._pools.values(),
            self._monitors,
            self._totals.encoded,
            now,
            config_ok=self.config_ok,
            reloads=self.reloads,
        )
        self.listener.channel.send_raw(frame, droppable=True)
        self.graves.tell(self.listener.channel)

    def tell_all(self, children: Iterable[Child], now: float) -> None:
        """Tell a new monitor everything."""
        self.tell_of_fleet(now)
        for child in children:
            self.relay(child)

    def relay(self, child: Child) -> None:
        """Pass on a child's last snapshot, another monitor's too: its counts are not ours."""
        listener = self.listener
        if listener is not None and listener is not child and child.snapshot:
            listener.channel.send_raw(report.snapshot_frame(child), droppable=True)

    def sum_up(self, child: Child, reason: str) -> None:
        """Add the counts of a child that is gone to the totals, and say so in one step."""
        if child.snapshot:
            self._totals.add(child.name, child.snapshot)
            child.snapshot = b""  # it may be kept in BACKOFF: no new monitor is told both
        if child.board is not None:
            self._totals.count_exit(child.pool, reason)
        frame = report.exited_frame(child.owner, self._totals.encoded)
        for monitor in self._monitors.running:
            if monitor is not child:
                monitor.channel.send_raw(frame)
                self.graves.tell(monitor.channel)
