"""What the master tells of itself: to people (``status``) and to the monitor (``fleet``)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

from queued.daemon.channel import encode
from queued.daemon.master.child import Child, ChildState
from queued.daemon.master.pool import Pool
from queued.daemon.scoreboard import SlotState
from queued.daemon.spec import QueueSpec, WorkerSpec


def fleet_frame(
    to: Child,
    pools: Iterable[Pool],
    monitors: Pool,
    now: float,
    *,
    scopes: Iterable[str],
    totals: bytes,
    started_at: float,
    config_ok: bool,
    reloads: int,
) -> bytes:
    """Return the encoded frame that tells the monitor of the pools.

    :param to: that monitor.
    :param scopes: whose totals there are.
    :param totals: those that it has not yet, encoded, or a part of them: they are large and change
        only when a child ends, or when something is counted for the first time.
    :param started_at: when the daemon was started, in seconds since the epoch.
    """
    known = list(pools)
    living = [*chain.from_iterable(pool.living for pool in known), *monitors.living]
    frame = {
        "type": "fleet",
        "owners": {pool.name: [child.owner for child in pool.living] for pool in known},
        "monitors": [child.owner for child in monitors.living],
        "reported": [child.owner for child in living if child.snapshot and child is not to],
        "pools": {pool.name: _pool(pool, now) for pool in known},
        "config_ok": config_ok,
        "reloads": reloads,
        "started_at": started_at,
        "scopes": list(scopes),
    }
    return encode(frame)[:-1] + b',"totals":' + totals + b"}"


def exited_frame(child: str, totals: bytes) -> bytes:
    """Return the encoded frame that says that a child is gone and its counts are in the totals.

    :param totals: the sums that have changed by that, encoded.
    """
    return encode({"type": "exited", "child": child})[:-1] + b',"totals":' + totals + b"}"


def snapshot_frame(child: Child) -> bytes:
    """Return a child's last snapshot as the monitor gets it: names added, nothing parsed.

    They come last, and so they count: a job can write what it likes to its worker's channel, a
    second ``type`` among it.
    """
    names = encode({"type": "snapshot", "child": child.owner, "pool": child.pool})
    return child.snapshot[:-1] + b"," + names[1:]


SNAPSHOT = b'{"type":"snapshot",'
"""How the raw frame of a snapshot begins."""


def worker_state(child: Child) -> str:
    """Return the label of ``workers``: a running worker is idle or busy."""
    if child.state is ChildState.RUNNING:
        return "busy" if child.board is not None and child.board.busy else "idle"
    return child.state.value


def _pool(pool: Pool, now: float) -> dict[str, Any]:
    living = pool.living
    beats = [child.board.heartbeat or child.started for child in living if child.board is not None]
    return {
        "state": pool.state,
        "desired": pool.desired,
        **(bounds_of(pool) or {}),
        "slots": sum(_concurrency(child) for child in living if child.active),
        "workers": dict(Counter(worker_state(child) for child in pool.children)),
        "memory": sum(child.rss for child in living),
        "memory_max": max((child.rss for child in living), default=0),
        "heartbeat_age": round(now - min(beats), 3) if beats else 0,
    }


def _concurrency(child: Child) -> int:
    return child.board.slots if child.board is not None else 0


def bounds_of(pool: Pool) -> dict[str, int] | None:
    """Return the least and the most workers of a pool that is scaled; None: it is not."""
    return {"min": pool.bounds.min, "max": pool.bounds.max} if pool.bounds else None


def pool_status(
    pool: Pool,
    exits: Mapping[str, int],
    crash: Mapping[str, Any] | None,
    objectives: QueueSpec,
    now: float,
) -> dict[str, Any]:
    """Return what ``queued status`` shows of a pool."""
    blueprint = pool.blueprint
    limit = blueprint.rate_limit if isinstance(blueprint, WorkerSpec) else None
    return {
        "state": pool.state,
        "desired": pool.desired,
        "range": bounds_of(pool),
        "by_hand": pool.by_hand,
        "concurrency": blueprint.concurrency if isinstance(blueprint, WorkerSpec) else None,
        "busy": sum(child.board.busy for child in pool.living if child.board is not None),
        "max_wait": objectives.max_wait,
        "max_failure_rate": objectives.max_failure_rate,
        "sleep": blueprint.sleep if isinstance(blueprint, WorkerSpec) else None,
        "polling": isinstance(blueprint, WorkerSpec) and blueprint.polling,
        "rate_limit": limit._asdict() if limit else None,
        "rss": sum(child.rss for child in pool.living),
        "exits": dict(exits),
        "last_crash": crash,
        "workers": [worker_status(child, now) for child in pool.children],
    }


def worker_status(child: Child, now: float) -> dict[str, Any]:
    """Return what ``queued status`` shows of a worker, and of the monitor."""
    alive = child.living
    status: dict[str, Any] = {
        "name": child.name,
        "owner": child.owner,
        "index": child.index,
        "pid": child.pid if alive else None,
        "state": child.state.value,
        "uptime": round(now - child.started, 1) if alive else None,
        "retry_in": None,
        "rss": child.rss if alive else 0,
        "code": child.code,
        "solo": child.solo,
    }
    if child.state is ChildState.BACKOFF and child.deadline is not None:
        status["retry_in"] = round(max(0.0, child.deadline - now), 1)
    if child.board is not None and alive:
        slots = child.board.read()
        status |= {
            "slots": child.board.slots,
            "busy": len(slots),
            "settled": child.board.settled,
            "jobs": [
                {
                    "id": slot.job_id,
                    "job": slot.job,
                    "seconds": round(max(0.0, now - slot.started), 1),
                    "timeout": round(slot.deadline - slot.started, 1) if slot.deadline else None,
                }
                for slot in slots
                if slot.state is SlotState.RUNNING
            ],
        }
    return status


def one_line(pools: Iterable[Pool]) -> str:
    """Return the state of the whole in one line, for the service manager."""
    known = list(pools)
    running = sum(len(pool.running) for pool in known)
    desired = sum(pool.desired for pool in known)
    text = f"{running} of {desired} workers run in {len(known)} pool{'s' * (len(known) != 1)}"
    bad = [f"{pool.name} is {pool.state}" for pool in known if pool.state in {"backoff", "fatal"}]
    return "; ".join([text, *bad])
