"""/metrics: what the fleet counted and the back-end's last sample, as Prometheus families.

Built anew for each rendering from values that are at hand; nothing here asks the back-end. The
names are a contract: add, do not rename. docs/metrics.md says of each what to do with it.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from prometheus_client.core import (
    CounterMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from queued.daemon.monitor.families import (
    PREFIX,
    by_queue,
    counter_of,
    gauge,
    gauge_of,
    histogram_of,
)
from queued.daemon.monitor.fleet import Fleet, View
from queued.daemon.monitor.scheduler import Scheduler
from queued.daemon.reach import Reach
from queued.daemon.spec import QueueSpec
from queued.drivers.base import QueueStats
from queued.version import __version__

COUNTED = {
    "attempts_total": "Runs of jobs that ended, by what came of them.",
    "job_errors_total": "Runs that raised, by kind of error: the first ten, then other.",
    "jobs_reclaimed_total": "Jobs taken back from dead workers, by reason.",
    "stale_acks_total": "Settlements that named a reservation which was no longer held.",
    "job_wait_seconds": "Time from ready to the start of a run.",
    "job_run_seconds": "Time that a run took.",
    "job_end_to_end_seconds": "Time from dispatch to success.",
    "jobs_in_flight": "Jobs that the workers of this daemon are running.",
    "worker_busy_seconds_total": "Time that slots were busy.",
    "job_payload_bytes": "Size of the jobs that were taken to be run, as stored.",
    "worker_exits_total": "Workers that ended, by reason.",
    "monitor_exits_total": "Monitors that ended, by reason: one takes the other's place.",
    "event_loop_lag_seconds": "How late the event loops of the workers were.",
    "driver_operation_seconds": "Time that calls of the back-end took.",
    "driver_errors_total": "Calls of the back-end that failed, by kind.",
    "dropped_labelsets_total": "Label values that were counted as other.",
}
"""What children count, in the order of the page; a name that is missing here is shown too."""

_BACKEND = ("driver", "backend")
POOL_STATES = ("starting", "running", "stopping", "stopped", "backoff", "fatal")
WORKER_STATES = ("starting", "idle", "busy", "stopping", "backoff", "fatal")
"""Those that are always shown; one that has ended may be, for a moment, "exited" or "stopped"."""

POOL_GAUGES = {
    "workers_desired": ("desired", "Workers that the pool should have."),
    "workers_min": ("min", "The least that a pool with a range is scaled to."),
    "workers_max": ("max", "The most that a pool with a range is scaled to."),
    "worker_slots": ("slots", "Jobs that the pool can run at a time."),
    "pool_memory_bytes": ("memory", "Resident memory of the pool's workers."),
    "pool_worker_memory_max_bytes": ("memory_max", "Resident memory of the largest worker."),
    "pool_heartbeat_age_max_seconds": ("heartbeat_age", "Time since the stalest heartbeat."),
}
"""Metric → the key of a pool in the fleet frame, and what it means."""


SAMPLE_KEPT = 60.0
"""Seconds that a sample is shown. An older one, of a daemon that cannot reach its back-end, would
be the largest of all hosts for as long as that lasts."""


@dataclass(slots=True)
class Sample:
    """The back-end's queues as last seen. ``at`` is seconds since the epoch; 0: never yet."""

    at: float = 0.0
    queues: Mapping[str, QueueStats] = field(default_factory=dict)


class FleetCollector:
    """Has at hand all that the page shows.

    :param objectives: those of each queue of queue.yaml.
    :param backend: names the back-end; see ``backend_id``.
    """

    def __init__(
        self, fleet: Fleet, reach: Reach, objectives: Mapping[str, QueueSpec], backend: str = ""
    ) -> None:
        self.sample = Sample()
        self.scheduler: Scheduler | None = None
        self._fleet = fleet
        self._reach = reach
        self._objectives = objectives
        self._backend = backend

    def freeze(self) -> Page:
        """Return the page of this moment: nothing changes it, so another thread can render it."""
        return Page(
            fleet=self._fleet.view(),
            sample=self.sample
            if time.time() - self.sample.at < SAMPLE_KEPT
            else Sample(self.sample.at),
            driver=self._reach.driver,
            driver_up=self._reach.up,
            objectives=self._objectives,
            backend=self._backend,
            last_ticks=dict(self.scheduler.last) if self.scheduler else {},
            next_ticks=dict(self.scheduler.next) if self.scheduler else {},
        )


@dataclass(frozen=True, slots=True, eq=False)
class Page(Collector):
    """Yields every family of the catalogue for which there is data."""

    fleet: View
    sample: Sample
    driver: str
    driver_up: bool
    objectives: Mapping[str, QueueSpec]
    backend: str
    last_ticks: Mapping[str, int]
    next_ticks: Mapping[str, int]

    def collect(self) -> Iterator[Metric]:
        started = time.perf_counter()
        known = [*self._queues(), *self._pools(), *self._schedules(), *self._daemon()]
        yield from known
        yield from self._counts({family.name for family in known})
        # The last one: the text of all before it has been written when this is asked for.
        yield gauge(
            "scrape_duration_seconds",
            "Time that the rendering of this page took.",
            value=time.perf_counter() - started,
        )

    def _queues(self) -> Iterator[Metric]:
        stats = self.sample.queues
        jobs = gauge("queue_jobs", "Jobs in the back-end, by state.", ["queue", "state"])
        for queue, one in stats.items():
            for state in ("ready", "scheduled", "reserved", "failed"):
                jobs.add_metric([queue, state], getattr(one, state))
        yield jobs
        yield by_queue(
            "queue_oldest_ready_age_seconds",
            "Age of the oldest job that waits to run.",
            {queue: one.oldest_ready_age_seconds for queue, one in stats.items()},
        )
        yield by_queue(
            "queue_oldest_reserved_age_seconds",
            "Age of the oldest reservation.",
            {queue: one.oldest_reserved_age_seconds for queue, one in stats.items()},
        )
        yield by_queue(
            "queue_max_wait_seconds",
            "The objective for the oldest ready job (max_wait of queue.yaml).",
            {queue: one.max_wait for queue, one in self.objectives.items()},
        )
        yield by_queue(
            "queue_max_failure_ratio",
            "The objective for the share of runs that fail (max_failure_rate of queue.yaml).",
            {queue: one.max_failure_rate for queue, one in self.objectives.items()},
        )
        yield by_queue(
            "queue_paused",
            "1 while the queue is paused.",
            {queue: one.paused is not None for queue, one in stats.items()},
        )
        enqueued = CounterMetricFamily(
            f"{PREFIX}jobs_enqueued", "Jobs enqueued, by whoever.", labels=["queue"]
        )
        for queue, one in stats.items():
            enqueued.add_metric([queue], one.enqueued_total)
        yield enqueued
        refused = CounterMetricFamily(
            f"{PREFIX}jobs_refused",
            "Jobs that were dispatched and not enqueued, by reason.",
            labels=["queue", "reason"],
        )
        for queue, one in stats.items():
            refused.add_metric([queue, "duplicate"], one.refused_total)
        yield refused

    def _counts(self, others: AbstractSet[str]) -> Iterator[Metric]:
        """Yield what children count, but nothing under a name that means something else."""
        if not self.fleet.complete:  # a part of the sum would look like a counter that was reset
            return
        counts = self.fleet.counts()
        counters, gauges = counts.get("counters", {}), counts.get("gauges", {})
        histograms = counts.get("histograms", {})
        for name in dict.fromkeys((*COUNTED, *counters, *gauges, *histograms)):
            documentation = COUNTED.get(name, "Counted by the workers.")
            if PREFIX + name.removesuffix("_total") in others:
                continue
            if name in counters:
                yield counter_of(name, documentation, counters[name])
            elif name in gauges:
                yield gauge_of(name, documentation, gauges[name])
            elif name in histograms:
                yield histogram_of(name, documentation, histograms[name])

    def _pools(self) -> Iterator[Metric]:
        pools = self.fleet.pools
        state = gauge("pool_state", "1 for the state that the pool is in.", ["pool", "state"])
        workers = gauge("workers", "Workers of the pool, by state.", ["pool", "state"])
        for name, pool in pools.items():
            for known in dict.fromkeys((*POOL_STATES, pool["state"])):
                state.add_metric([name, known], known == pool["state"])
            for known, number in {**dict.fromkeys(WORKER_STATES, 0), **pool["workers"]}.items():
                workers.add_metric([name, known], number)
        yield state
        yield workers
        for metric, (key, documentation) in POOL_GAUGES.items():
            family = gauge(metric, documentation, ["pool"])
            for name, pool in pools.items():
                if pool.get(key) is not None:
                    family.add_metric([name], pool[key])
            yield family

    def _schedules(self) -> Iterator[Metric]:
        for which, ticks in (("last", self.last_ticks), ("next", self.next_ticks)):
            family = gauge(
                f"schedule_{which}_tick_timestamp_seconds",
                f"When the {which} tick of the schedule is, since the epoch.",
                ["schedule"],
            )
            for schedule, tick in ticks.items():
                family.add_metric([schedule], tick)
            yield family

    def _daemon(self) -> Iterator[Metric]:
        up = gauge("driver_up", "1 while the back-end answers.", ["driver"])
        up.add_metric([self.driver], self.driver_up)
        yield up
        info = gauge("backend_info", "1; the same backend is the same on all hosts.", _BACKEND)
        info.add_metric([self.driver, self.backend], 1)
        yield info
        yield gauge(
            "stats_timestamp_seconds",
            "When the queues were last sampled, since the epoch.",
            value=self.sample.at,
        )
        yield gauge(
            "config_last_reload_successful",
            "1 if the last reload of queue.yaml succeeded.",
            value=self.fleet.config_ok,
        )
        if self.fleet.started_at is not None:
            yield gauge(
                "start_time_seconds",
                "When the daemon was started, since the epoch.",
                value=self.fleet.started_at,
            )
        build = gauge("build_info", "1; the labels tell what runs.", ["version", "python"])
        build.add_metric([__version__, platform.python_version()], 1)
        yield build
