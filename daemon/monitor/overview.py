"""What the monitor hands to the page at ``/``: all of it is in memory, no back-end is asked."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from queued.daemon.monitor.collector import Sample
from queued.daemon.monitor.fleet import RUNNING, Fleet
from queued.daemon.reach import Reach
from queued.daemon.spec import NO_OBJECTIVES, QueueSpec
from queued.web.overview import Lately, Overview, PoolView, QueueView


def overview(
    url: str,
    fleet: Fleet,
    sample: Sample,
    reach: Reach,
    *,
    queues: Mapping[str, QueueSpec],
    recent: Mapping[str, Mapping[str, Any]],
    unserved: Mapping[str, int],
) -> Overview:
    """Return what is known now. Of the back-end's ``url`` only the scheme: the rest is secret.

    :param queues: the objectives of those that queue.yaml has.
    :param recent: what each queue did lately, by queue and window.
    :param unserved: how many jobs wait, by queue, where nobody serves that.
    """
    return Overview(
        backend=url.partition(":")[0],
        backend_up=reach.up,
        backend_since=reach.since,
        backend_error="see backend.unreachable in the log"
        if reach.error
        else "",  # it has the host
        fleet_age=time.monotonic() - fleet.heard_at if fleet.known else None,
        sample_age=max(0.0, time.time() - sample.at) if sample.at else None,
        config_ok=fleet.config_ok,
        unserved=unserved,
        pools=_pools(fleet),
        queues=[
            QueueView(
                name=name,
                stats=sample.queues.get(name),
                max_wait=queues.get(name, NO_OBJECTIVES).max_wait,
                max_failure_rate=queues.get(name, NO_OBJECTIVES).max_failure_rate,
                lately=Lately.of(recent.get(name)),
            )
            for name in dict.fromkeys((*fleet.pools, *sample.queues))
        ],
    )


def _pools(fleet: Fleet) -> list[PoolView]:
    busy: Counter[str] = Counter()
    for labels, number in fleet.series("gauges", "jobs_in_flight"):
        busy[labels["queue"]] += int(number)
    exits: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for labels, number in fleet.series("counters", "worker_exits_total"):
        exits[labels["pool"]][labels["reason"]] += int(number)
    return [
        PoolView(
            name=name,
            state=pool["state"],
            running=sum(pool["workers"].get(state, 0) for state in RUNNING),
            desired=pool["desired"],
            busy=busy[name],
            slots=pool["slots"],
            memory=pool.get("memory") or 0,
            exits=exits[name],
            range=(pool["min"], pool["max"]) if "max" in pool else None,
        )
        for name, pool in fleet.pools.items()
    ]
