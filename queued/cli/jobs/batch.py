"""What follows a job, and a batch, as people and programs read them; ``queued batch``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from queued.cli.failures import Refused
from queued.cli.options import JobId, backend_options, example, find_url
from queued.cli.output import moment, plural, print_fields, print_json
from queued.drivers.sequel import Batch, Parcel, Sequel
from queued.jobs.payload import job_name


@click.command(epilog=example("queued batch 019ab1c2-3d4e-7f00-8a1b-2c3d4e5f6a7b"))
@click.argument("batch_id", type=JobId(), metavar="ID")
@backend_options
def batch(batch_id: str, config: Path, connection: str | None, *, as_json: bool) -> None:
    """Show how far the batch ID is. Its record is kept for a week after it has finished."""
    from queued.cli import backend  # noqa: PLC0415 - commands import when they run

    url = find_url(config, connection)
    found = backend.ask(url, lambda driver: driver.batch(batch_id))
    if found is None:
        raise Refused(f"no batch {batch_id!r}; the record of one that finished is kept for a week")
    if as_json:
        print_json(batch_json(found))
    else:
        print_batch(found)


def batch_json(found: Batch) -> dict[str, Any]:
    """Return how far a batch is as plain data."""
    return {
        "id": found.id,
        "queue": found.queue,
        "total": found.total,
        "pending": found.pending,
        "done": found.done,
        "failed": found.failed,
        "cancelled": found.cancelled,
        "created_at": found.created_at,
        "finished_at": found.finished_at,
        "failed_ids": list(found.failed_ids),
    }


def print_batch(found: Batch) -> None:
    """Print how far a batch is."""
    more = found.failed - len(found.failed_ids)
    shown = [*found.failed_ids, *([f"and {more} more"] if more > 0 else [])]
    print_fields(
        [
            ("batch", found.id),
            ("queue", found.queue),
            ("done", f"{found.done} of {plural(found.total, 'job')}"),
            ("pending", found.pending),
            ("failed", found.failed),
            ("cancelled", found.cancelled),
            ("created", moment(found.created_at)),
            ("finished", moment(found.finished_at)),
            *[("", one) for one in shown],
        ]
    )


def sequel_json(packed: bytes) -> dict[str, Any]:
    """Return a job's place in a chain and in a batch as plain data."""
    if not packed:
        return {"chain": None, "batch": None}
    sequel = Sequel.of(packed)
    chain: dict[str, Any] | None = None
    if sequel.place is not None:
        chain = {
            "id": sequel.place.chain,
            "link": sequel.place.link,
            "links": sequel.place.links,
            "then": _parcel_json(sequel.then),
            "catch": _parcel_json(sequel.catch),
        }
    member = sequel.member
    return {
        "chain": chain,
        "batch": member and {"id": member.batch, "queue": member.home, "member": member.id},
    }


def sequel_fields(packed: bytes) -> list[tuple[str, str | None]]:
    """Return the lines about a job's place in a chain and in a batch."""
    if not packed:
        return []
    sequel = Sequel.of(packed)
    place, member = sequel.place, sequel.member
    return [
        ("chain", f"link {place.link} of {place.links} of {place.chain}" if place else None),
        ("then", _said(sequel.then)),
        ("catch", _said(sequel.catch)),
        ("batch", f"{member.batch}, kept in {member.home}" if member else None),
    ]


def _said(packed: bytes) -> str | None:
    parcel = _parcel_json(packed)
    return f"{parcel['job']} on {parcel['queue']}, {parcel['id']}" if parcel else None


def _parcel_json(packed: bytes) -> dict[str, Any] | None:
    if not packed:
        return None
    queue, job = Parcel.of(packed)
    return {"id": job.id, "queue": queue, "job": job_name(job.payload), "delay": job.delay}
