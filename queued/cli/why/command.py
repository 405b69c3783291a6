"""``queued why``: what a job or a queue waits for, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from queued.cli.exits import Exit
from queued.cli.failures import Refused
from queued.cli.options import JobId, backend_options, example, queue_option
from queued.cli.output import coloured, console, moment, print_json
from queued.drivers.states import State
from queued.errors import DriverUnavailable
from queued.jobs.payload import job_name
from queued.units import format_duration

if TYPE_CHECKING:
    from queued.cli.why.evidence import Evidence
    from queued.cli.why.holds import Reason


@click.command(
    epilog=example("queued why emails", "queued why 019ab1c2-3d4e-7f00-8a1b-2c3d4e5f6a7b")
)
@click.argument("target", type=JobId(), metavar="QUEUE|ID")
@queue_option
@backend_options
def why(
    target: str, queue: str | None, config: Path, connection: str | None, *, as_json: bool
) -> int:
    """Say in words why a queue or the job ID waits.

    The daemon and the back-end are asked; where one of them does not answer, that is a reason too,
    and what could not be asked is said. With --queue it is about a job of that queue.
    """
    from queued.cli.why import evidence, reasons  # noqa: PLC0415 - commands import when they run

    seen = evidence.gather(target, queue, config, connection)
    found = reasons.of_job(seen) if seen.is_job else reasons.of_queue(seen)
    code = _code(found)
    if as_json:
        print_json(_as_json(seen, found))
    elif code == Exit.UNAVAILABLE:
        raise DriverUnavailable(f"whether there is a job {target!r}: {seen.stored.error}")
    elif code == Exit.PROBLEM:
        raise Refused("; ".join(one.text for one in found))
    else:
        _print(seen, found)
    return code


def _code(found: Sequence[Reason]) -> Exit:
    """Return whether the question could be answered."""
    codes = {one.code for one in found}
    if "unknown" not in codes:
        return Exit.OK
    return Exit.UNAVAILABLE if "backend_down" in codes else Exit.PROBLEM


def _not_asked(seen: Evidence) -> dict[str, str]:
    """Return who could not be asked, with why."""
    stored, daemon = seen.stored, seen.daemon
    said = {"back-end": "" if stored.missing else stored.error, "daemon": daemon.error}
    return {who: error for who, error in said.items() if error}


def _as_json(seen: Evidence, found: Sequence[Reason]) -> dict[str, Any]:
    """Return the answer as plain data; docs/watching.md says what each key means."""
    stats = asdict(seen.stored.stats)
    return {
        "target": seen.target,
        "kind": "job" if seen.is_job else "queue",
        "queue": seen.queue,
        "state": seen.info.state.value if seen.info else None,
        "counts": None if seen.queue is None or seen.stored.error else stats,
        "reasons": [{"reason": one.code, "text": one.text, **one.facts} for one in found],
        "not_asked": _not_asked(seen),
    }


def _print(seen: Evidence, found: Sequence[Reason]) -> None:
    out = console()
    out.print(coloured(_summary(seen), "bold"), soft_wrap=True)
    for reason in found:
        out.print(coloured(f"- {reason.text}"), soft_wrap=True)
        for line in reason.lines:
            out.print(coloured(f"    {line}"), soft_wrap=True)
    for who, error in _not_asked(seen).items():
        out.print(coloured(f"the {who} could not be asked: {error}", "yellow"), soft_wrap=True)


def _summary(seen: Evidence) -> str:
    """Return what it is about, and how that is now."""
    if not seen.is_job:
        return f"{seen.queue}: {_counts(seen)}"
    info = seen.info
    if info is None:
        return f"{seen.target} of {seen.queue}"
    name = job_name(info.payload) or "not a payload of queued"
    since = f" since {moment(info.ready_at)}" if info.state is State.READY else ""
    return f"{info.id} ({name}) of {info.queue} is {info.state.value}{since}"


def _counts(seen: Evidence) -> str:
    stats = seen.stored.stats
    if seen.stored.error:
        return "nothing is known of its jobs"
    oldest = f" (the oldest for {format_duration(stats.oldest_ready_age_seconds)})"
    return (
        f"{stats.ready} ready{oldest if stats.ready else ''}, {stats.scheduled} scheduled,"
        f" {stats.reserved} reserved, {stats.failed} failed"
    )
