"""Why a job or a queue is where it is, out of all that is known of it."""

from __future__ import annotations

import socket
from typing import Any

from queued.cli.jobs.describe import error_of, history_of
from queued.cli.output import ago, moment, plural
from queued.cli.why.evidence import Evidence, worker_of
from queued.cli.why.holds import Reason, are, backend_down, holds, other_backend
from queued.drivers.base import State
from queued.jobs.text import nearest
from queued.units import format_duration


def of_job(seen: Evidence) -> list[Reason]:
    """Return the reasons of a job; ``unknown`` is among them when it cannot be found."""
    info = seen.info
    if info is None:
        running = _running_reason(seen)
        hold = backend_down(seen) or other_backend(seen)
        return [one for one in (running or _unknown(seen), hold) if one]
    match info.state:
        case State.FAILED:
            return [_failed(seen)]
        case State.RESERVED:
            held, down = _held(seen), backend_down(seen)
            return [held, down] if down else [held]
        case State.SCHEDULED:
            return [_scheduled(seen), *holds(seen)]
    return holds(seen)


def of_queue(seen: Evidence) -> list[Reason]:
    """Return the reasons of a queue."""
    stats, found = seen.stored.stats, []
    if not seen.stored.error and not stats.ready:
        found.append(_nothing_ready(seen))
    return [*holds(seen), *found]


def _nothing_ready(seen: Evidence) -> Reason:
    stats, due = seen.stored.stats, seen.stored.next_due
    if not stats.scheduled:
        return Reason("nothing_waits", "nothing waits in it")
    text = f"nothing is ready; {plural(stats.scheduled, 'job')} {are(stats.scheduled)} scheduled"
    facts: dict[str, Any] = {"scheduled": stats.scheduled}
    if due is not None:
        facts["next_due_at"] = seen.now + due
        text += f", the next for {moment(seen.now + due)}"
    return Reason("scheduled", text, facts=facts)


def _unknown(seen: Evidence) -> Reason:
    target, queues = seen.target, {*seen.daemon.served, *seen.stored.queues}
    text = f"no queue has a job {target!r}: it is done (that is not kept), or it never was"
    if seen.queue is None:
        text += f"; nor is there a queue of that name{nearest(target, queues)}"
    return Reason("unknown", text)


def _failed(seen: Evidence) -> Reason:
    info = seen.info
    assert info
    assert info.failed
    error = error_of(info.failed)
    runs = plural(info.counts.runs, "run")
    text = f"it failed {ago(info.failed.failed_at)}, after {runs}: {error}"
    lines = [
        f"queued failed show {info.id} has the traceback",
        f"queued failed retry {info.id} puts it back",
    ]
    return Reason("failed", text, lines, {"failed_at": info.failed.failed_at, "error": error})


def _scheduled(seen: Evidence) -> Reason:
    info = seen.info
    assert info
    due = info.due_at or 0.0
    when = f"it is scheduled for {moment(due)}"
    if due <= seen.now:
        when = f"it has been due since {moment(due)}, and is ready as soon as a worker looks"
    facts: dict[str, Any] = {"due_at": due}
    notes = history_of(info.history)
    if info.counts.tries and notes:
        last = notes[-1]
        what = str(last.get("error") or last.get("outcome") or "its last run ended")
        facts["after"] = what
        when += f", after {plural(info.counts.runs, 'run')}; the last ended with {what}"
    return Reason("scheduled", when, facts=facts)


def _running_reason(seen: Evidence) -> Reason | None:
    """Return where the daemon runs a job, whatever the back-end says."""
    for _, worker in seen.daemon.workers:
        for job in worker.get("jobs", ()):
            if job["id"] == seen.target:
                of = f" of at most {format_duration(job['timeout'])}" if job.get("timeout") else ""
                host = socket.gethostname()  # a daemon is asked on its own host only
                text = (
                    f"it runs in {worker['name']} (pid {worker['pid']} on {host})"
                    f" for {format_duration(job['seconds'])}{of}"
                )
                facts = {"worker": worker["name"], "host": host, "pid": worker["pid"], **job}
                return Reason("running", text, facts=facts)
    return None


def _held(seen: Evidence) -> Reason:
    """Return who has reserved a job, and whether that one runs it."""
    if running := _running_reason(seen):
        return running
    info = seen.info
    assert info
    owner = info.owner or ""
    since, worker = moment(info.reserved_at), worker_of(owner)
    facts = {"owner": owner, "reserved_at": info.reserved_at}
    if any(one.get("owner") == owner for _, one in seen.daemon.workers):
        text = f"{worker} has had it since {since}: it is about to start or to be settled"
        return Reason("reserved", text, facts=facts)
    left = seen.stored.owners.get(owner, -1.0)
    if left > 0 and not seen.daemon.has_owner(owner):
        text = (
            f"{worker} of another daemon, or of queued work, has had it since {since};"
            f" its lease runs for another {format_duration(round(left, 1))}"
        )
        return Reason("reserved_elsewhere", text, facts=facts | {"lease": left})
    lease = f"its lease runs for another {format_duration(round(left, 1))}"
    gone = lease if left > 0 else "its lease has run out"
    text = f"{worker}, which has had it since {since}, is gone; {gone}; it goes back {_back(seen)}"
    return Reason("owner_lost", text, facts=facts | {"lease": left})


def _back(seen: Evidence) -> str:
    if seen.status is not None:
        return "in moments"
    return "when a daemon runs that can take it back"
