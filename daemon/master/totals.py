"""The counts of children that are gone, summed up: what keeps counters from going backwards."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import structlog

from queued.daemon.master.deaths import Reason
from queued.daemon.metrics import Labels, sound
from queued.daemon.tally import MOST_SERIES, Names, Tally, rows, scope_of

log = structlog.get_logger()

KEPT = 600.0
"""Seconds that the series of a pool outlive it: every scraper sees its last counts, and names that
come and go with queue.yaml do not add up for ever."""
PART = 4 * 1024 * 1024
"""Bytes of sums that go into one frame of the fleet, a little more if one pool has more: hundreds
of queues with hundreds of classes would be more than a channel takes."""
OF_MONITORS = (
    *(Reason.DRAINED, Reason.CRASH, Reason.SIGNAL),
    *(Reason.OOM, Reason.HUNG, Reason.BOOT_ERROR),
)
"""How a monitor can end."""


@dataclass(slots=True)
class _Scope:
    """What one pool has counted."""

    tally: Tally = field(default_factory=lambda: Tally(MOST_SERIES))
    names: Names = field(default_factory=Names)
    changed: int = 0
    """The version that it changed in last."""
    encoded: bytes = b""
    """JSON of it; empty: it is made when it is next asked for."""
    gone_since: float | None = None


class Totals:
    """Sums by pool, and one of what belongs to none. They only grow, until a pool is gone for long.

    ``version`` rises with every change.
    """

    def __init__(self) -> None:
        self.version = 0
        self._scopes: dict[str, _Scope] = {"": _Scope()}
        for reason in OF_MONITORS:
            self._count("monitor_exits_total", {"reason": reason}, 0)

    def keep(self, pools: Collection[str], now: float) -> None:
        """Begin the sums of pools that are new, at zero, and drop those of pools long gone."""
        for name in pools:
            if name not in self._scopes:
                self._scopes[name] = _Scope()
                for reason in Reason:  # at zero, so that a first crash is an increase
                    self._count("worker_exits_total", {"pool": name, "reason": reason}, 0)
        for name, scope in list(self._scopes.items()):
            if not name or name in pools:
                scope.gone_since = None
            elif scope.gone_since is None:
                scope.gone_since = now
            elif now - scope.gone_since > KEPT:
                del self._scopes[name]
                self.version += 1

    def add(self, name: str, snapshot: bytes) -> None:
        """Add the last frame of a child that is gone; one that is broken is left out."""
        try:
            self.fold(json.loads(snapshot)["data"])
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            log.warning("snapshot.broken", child=name, error=repr(error))

    def fold(self, snapshot: Any) -> None:
        """Add a snapshot; new names are let in, as far as there is room.

        :raises (ValueError, TypeError, LookupError, AttributeError): it is none.
        """
        for kind, name, (labels, *values) in rows(sound(snapshot), "counters", "histograms"):
            scope = self._scopes.get(scope_of(labels))
            if scope is None:  # a pool that is gone for long
                continue
            bound = scope.names.bound(labels, admit=True)
            assert bound is not None
            scope.tally.add(kind, name, bound, *values)
            self._changed(scope)

    def count_exit(self, pool: str | None, reason: str) -> None:
        """Count the end of a pool's worker; None: of a monitor."""
        if pool is None:
            self._count("monitor_exits_total", {"reason": reason}, 1)
        else:
            self._count("worker_exits_total", {"pool": pool, "reason": reason}, 1)

    def _count(self, name: str, labels: Labels, number: int) -> None:
        scope = self._scopes.get(scope_of(labels))
        if scope is not None:
            scope.tally.add("counters", name, labels, number)
            self._changed(scope)

    def _changed(self, scope: _Scope) -> None:
        self.version += 1
        scope.changed = self.version
        scope.encoded = b""

    # as the monitor is told

    @property
    def scopes(self) -> list[str]:
        return list(self._scopes)

    def since(self, version: int) -> bytes:
        """Return as JSON the sums that have changed since ``version``; 0: all of them."""
        changed = [
            json.dumps(name).encode() + b":" + self._encoded(scope)
            for name, scope in self._scopes.items()
            if scope.changed > version
        ]
        return b"{" + b",".join(changed) + b"}"

    def part(self, version: int) -> tuple[bytes, int]:
        """Return what ``since`` does, as far as it goes into one frame, and up to which version."""
        changed = [(scope.changed, name) for name, scope in self._scopes.items()]
        part: list[bytes] = []
        size, reached = 0, version
        for at, name in sorted(one for one in changed if one[0] > version):
            encoded = json.dumps(name).encode() + b":" + self._encoded(self._scopes[name])
            if part and size + len(encoded) > PART:
                return b"{" + b",".join(part) + b"}", reached
            part.append(encoded)
            size, reached = size + len(encoded), at
        return b"{" + b",".join(part) + b"}", self.version

    def _encoded(self, scope: _Scope) -> bytes:
        if not scope.encoded:
            scope.encoded = json.dumps(scope.tally.snapshot(), separators=(",", ":")).encode()
        return scope.encoded
