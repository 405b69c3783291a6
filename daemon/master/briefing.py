"""What the monitor is told: the fleet, each child's counts, and the dead whose jobs it settles.

Everything is told again until it is done or newer, and all of it to a new monitor, so it does not
matter which monitor dies when, nor which frame is dropped.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

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
        self.totals = Totals()
        self._told: tuple[Child | None, int] = (None, 0)
        """Which monitor has the totals, as of which version."""
        self._started_at = time.time()
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
        """Say who lives, how the pools are, what is new in the totals, and who is unsettled."""
        self._due = now + PUBLISH_EVERY
        self.totals.keep(self._pools, now)
        listener = self.listener
        if listener is None:
            return
        told, version = self._told
        totals, version = self.totals.part(version if told is listener else 0)
        frame = report.fleet_frame(
            listener,
            self._pools.values(),
            self._monitors,
            now,
            scopes=self.totals.scopes,
            totals=totals,
            started_at=self._started_at,
            config_ok=self.config_ok,
            reloads=self.reloads,
        )
        if listener.channel.send_raw(frame, droppable=True):
            self._told = (listener, version)
            if version < self.totals.version:
                self.changed()
        self.graves.tell(listener.channel)

    def tell_all(self, children: Iterable[Child], now: float) -> None:
        """Tell a new monitor everything."""
        self.tell_of_fleet(now)
        for child in children:
            self.relay(child, droppable=False)

    def relay(self, child: Child, *, droppable: bool = True) -> None:
        """Pass on a child's last snapshot, another monitor's too: its counts are not ours."""
        listener = self.listener
        if listener is not None and listener is not child and child.snapshot:
            listener.channel.send_raw(report.snapshot_frame(child), droppable=droppable)

    def begin(self, snapshot: Any) -> None:
        """Let in the names that the monitor has seen in the snapshots of those that live.

        :raises (ValueError, TypeError, LookupError, AttributeError): it is no snapshot.
        """
        self.totals.fold(snapshot)
        self.changed()

    def sum_up(self, child: Child, reason: str) -> None:
        """Add the counts of a child that is gone to the totals, and say so in one step."""
        before = self.totals.version
        if child.snapshot:
            self.totals.add(child.name, child.snapshot)
            child.snapshot = b""  # it may be kept in BACKOFF: no new monitor is told both
        self.totals.count_exit(child.pool if child.board is not None else None, reason)
        frame = report.exited_frame(child.owner, self.totals.since(before))
        for monitor in self._monitors.running:
            if monitor is not child:
                monitor.channel.send_raw(frame)
                self.graves.tell(monitor.channel)
