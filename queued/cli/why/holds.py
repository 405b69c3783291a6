"""Why something waits: each reason is one function of the evidence, and stands in a table.

A new reason is a function that returns a ``Reason`` or None, and its place among ``HOLDS``; its
code joins the table in docs/watching.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from queued.cli.output import ago, moment, plural
from queued.cli.why.evidence import Evidence
from queued.drivers.base import LOOK_AHEAD, State
from queued.jobs.text import nearest
from queued.units import format_duration

LISTED = 5
"""Jobs that are named; there may be a thousand."""


class Reason(NamedTuple):
    """Why a job or a queue waits (or why a job does not)."""

    code: str
    """For programs: it stays."""
    text: str
    """A sentence for people, which says what to do where something can be done."""
    lines: Sequence[str] = ()
    """More of it, a line each."""
    facts: Mapping[str, Any] = {}
    """More of it for programs."""


# What keeps a queue from being worked on, the hardest first.


def backend_down(seen: Evidence) -> Reason | None:
    stored, status = seen.stored, seen.status
    if stored.missing:
        return Reason("no_database", stored.error)
    if stored.error:
        return Reason("backend_down", f"the back-end does not answer: {stored.error}")
    if stored.refuses:
        return Reason("backend_down", f"the back-end takes no writes: {stored.refuses}")
    if status and status.get("driver_up") is False:
        sampled = status.get("sampled_at")
        last = f", which it last saw {ago(sampled)}" if sampled else ""
        text = f"the daemon cannot reach its back-end {status['connection']}{last}"
        return Reason("backend_down", text)
    return None


def other_backend(seen: Evidence) -> Reason | None:
    reading = seen.daemon.reading
    if reading is None or seen.same_backend:
        return None
    daemons, source = reading.status["connection"], reading.status["connection_source"]
    return Reason(
        "other_backend",
        f"the daemon works on {daemons} ({source}), and this was looked up in"
        f" {seen.stored.connection}: what waits there is not for it; name the one that is meant"
        " with --connection",
        facts={"daemon": daemons, "asked": seen.stored.connection},
    )


def daemon_not_running(seen: Evidence) -> Reason | None:
    if not seen.daemon.absent:
        return None
    config = seen.daemon.config
    text = f"no daemon runs with {config}; start it with: queued start -c {config}"
    return Reason("daemon_not_running", text)


def daemon_starts_nothing(seen: Evidence) -> Reason | None:
    status = seen.status
    if status is None:
        return None
    if status["state"] == "stopping":
        text = "the daemon is stopping: it starts no more jobs, and waits for those that run"
        return Reason("daemon_stopping", text)
    if status.get("quiet"):
        text = "the daemon is quiet (it got SIGTSTP): it starts no jobs until queued restart"
        return Reason("daemon_quiet", text)
    if status["state"] == "starting":
        return Reason("daemon_starting", "the daemon is starting: its workers are not up yet")
    return None


def paused(seen: Evidence) -> Reason | None:
    pause = seen.stored.stats.paused
    if pause is None:
        return None
    by = f" by {pause.by}" if pause.by else ""
    why = f": {pause.reason}" if pause.reason else ""
    text = f"{seen.queue} is paused since {moment(pause.since)}{by}{why}"
    return Reason(
        "paused", f"{text}; queued resume {seen.queue} ends that", facts={"paused": asdict(pause)}
    )


def no_pool(seen: Evidence) -> Reason | None:
    daemon, queue = seen.daemon, seen.queue
    if queue is None or queue in daemon.served or not daemon.served:
        return None
    if daemon.reading is not None and not seen.same_backend:
        return None
    known = ", ".join(daemon.served)
    near = nearest(queue, daemon.served)
    text = f"no pool serves {queue}: {daemon.config} has {known}{near}"
    otherwise = " If not, add it there" if near else "; add it there"
    return Reason("no_pool", f"{text}{otherwise}, then: queued reload")


def parked(seen: Evidence) -> Reason | None:
    pool = seen.pool
    if pool is None or pool["desired"] > 0:
        return None
    return Reason("parked", f"the pool of {seen.queue} is parked: its processes are 0")


def no_worker(seen: Evidence) -> Reason | None:
    pool = seen.pool
    if pool is None or pool["desired"] == 0 or any(_running(pool)):
        return None
    state, crash = pool["state"], pool.get("last_crash")
    how = f"; {crash['worker']} crashed {ago(crash['at'])}: {crash['how']}" if crash else ""
    facts = {"state": state}
    match state:
        case "fatal":
            text = f"every worker of {seen.queue} crashed too often and was given up{how}"
            return Reason("pool_fatal", f"{text}; queued restart tries again", facts=facts)
        case "backoff":
            again = [one["retry_in"] for one in pool["workers"] if one.get("retry_in") is not None]
            when = f"the next start is in {min(again)} s" if again else "they start again soon"
            text = f"the workers of {seen.queue} crash{how}; {when}"
            return Reason("pool_backoff", text, facts=facts)
        case "stopping" | "stopped":
            text = f"the pool of {seen.queue} is being removed: queue.yaml has it no more"
            return Reason("no_pool", text, facts=facts)
    return Reason("pool_starting", f"the workers of {seen.queue} are starting", facts=facts)


def suspects(seen: Evidence) -> Reason | None:
    stats = seen.stored.stats
    if seen.is_job and seen.info and seen.suspect:
        lost = seen.info.counts.crashes + seen.info.counts.lost
        died = f"its worker died {plural(lost, 'time')} while it ran"
        text = f"it is a suspect: {died}; it runs alone, in a temporary worker"
    elif not seen.is_job and stats.suspects:
        ready = plural(stats.ready, "ready job")
        text = f"{stats.suspects} of {ready} may have killed a worker, and run alone, one by one"
    else:
        return None
    running = seen.jobs_of(solo=True)
    return Reason(
        "suspect",
        f"{text}; now it is the turn of" if running else text,
        lines=list(_listed(running)),
        facts={"suspects": stats.suspects, "running": _facts(running)},
    )


def slots_busy(seen: Evidence) -> Reason | None:
    pool = seen.pool
    if pool is None or seen.suspect or not seen.waits:
        return None
    slots = sum(one.get("slots", 0) for one in _running(pool))
    busy = sum(one.get("busy", 0) for one in _running(pool))
    if not slots or busy < slots:
        return None
    running = seen.jobs_of(solo=False)
    slow = f", the longest for {format_duration(running[0][0]['seconds'])}" if running else ""
    which = "the one slot" if slots == 1 else f"all {slots} slots"
    return Reason(
        "slots_busy",
        f"{which} of {seen.queue} {'is' if slots == 1 else 'are'} busy{slow}",
        lines=list(_listed(running)),
        facts={"slots": slots, "running": _facts(running)},
    )


def rate_limited(seen: Evidence) -> Reason | None:
    wait = seen.stored.stats.limited_seconds
    if not wait or not seen.waits:
        return None
    if seen.pool is not None and not seen.pool.get("rate_limit"):
        return None  # another limit left it: one from before a reload, or another host's
    text = f"{seen.queue} is rate limited, next token in {format_duration(round(wait, 3))}"
    return Reason("rate_limited", text, facts={"seconds": wait})


def its_turn(seen: Evidence) -> Reason | None:
    info, ahead = seen.info, seen.stored.ahead
    if info is None or info.state is not State.READY or seen.suspect:
        return None
    if ahead is None:
        if seen.stored.stats.ready <= LOOK_AHEAD:
            return None  # it has been taken meanwhile
        return Reason("its_turn", f"more than {LOOK_AHEAD:,} jobs are before it")
    if not ahead:
        return Reason("its_turn", "it is the next", facts={"ahead": 0})
    are = "job is" if ahead == 1 else "jobs are"
    facts: dict[str, Any] = {"ahead": ahead}
    text = f"{ahead} {are} before it"
    if rate := _rate(seen):
        facts["about_seconds"] = round(ahead / rate, 1)
        text += f"; at {rate:.3g} a second it is its turn in about {format_duration(ahead / rate)}"
    return Reason("its_turn", text, facts=facts)


def served_elsewhere(seen: Evidence) -> Reason | None:
    if not seen.elsewhere or not seen.waits:
        return None
    workers = plural(seen.elsewhere, "worker")
    verb = "serves" if seen.elsewhere == 1 else "serve"
    just_now = ", or of one that ended just now," if seen.daemon.absent else ""
    text = f"{workers} of other daemons, or of queued work{just_now or ','} {verb} it"
    return Reason("served_elsewhere", text, facts={"workers": seen.elsewhere})


def free(seen: Evidence) -> Reason | None:
    """Say that nothing holds it, when there is a free slot."""
    pool = seen.pool
    if pool is None or seen.suspect or not seen.waits:
        return None
    slots = sum(one.get("slots", 0) - one.get("busy", 0) for one in _running(pool))
    if slots <= 0:
        return None
    text = f"{plural(slots, 'slot')} of {seen.queue} {are(slots)} free"
    sleep = format_duration(pool.get("sleep") or 0.0)
    if pool.get("polling"):
        text += f": a worker looks every {sleep} only (polling: true)"
    else:
        text += f": a worker takes it at once, or looks within {sleep}"
    return Reason("free", text, facts={"slots": slots})


HOLDS: tuple[Callable[[Evidence], Reason | None], ...] = (
    backend_down,
    other_backend,
    paused,
    daemon_not_running,
    daemon_starts_nothing,
    no_pool,
    parked,
    no_worker,
    suspects,
    slots_busy,
    rate_limited,
    its_turn,
    served_elsewhere,
)


def holds(seen: Evidence) -> list[Reason]:
    """Return all that keeps it from running now; if that is nothing, what is free."""
    found = [reason for hold in HOLDS if (reason := hold(seen)) is not None]
    hard = [one for one in found if one.code not in {"its_turn", "served_elsewhere"}]
    last = None if hard else free(seen)
    return found if last is None else [last, *found]


def _running(pool: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the workers that can take jobs."""
    for one in pool["workers"]:
        if one["state"] == "running" and not one.get("solo"):
            yield one


def _listed(running: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> Iterator[str]:
    """Yield a line for each of the first jobs that run."""
    jobs = list(running)
    for job, worker in jobs[:LISTED]:
        name = str(job["job"]).rpartition(".")[2]
        yield f"{name} {job['id']} in {worker['name']} for {format_duration(job['seconds'])}"
    if len(jobs) > LISTED:
        yield f"and {len(jobs) - LISTED} more"


def _facts(
    running: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]],
) -> list[dict[str, Any]]:
    """Return the jobs that run for programs, each with its worker."""
    return [{**job, "worker": worker["name"]} for job, worker in running]


def _rate(seen: Evidence) -> float | None:
    """Return how many jobs of the queue end per second, if any do."""
    views = seen.daemon.reading.overview.queues if seen.daemon.reading and seen.status else ()
    return next((one.lately.rate for one in views if one.name == seen.queue and one.lately), None)


def are(count: int) -> str:
    return "is" if count == 1 else "are"
