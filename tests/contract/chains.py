"""Chains and batches as the drivers see them: jobs with sequels."""

from __future__ import annotations

from collections.abc import Sequence

from queued.drivers.base import NewJob
from queued.drivers.sequel import Member, NewBatch, Parcel, Sequel
from tests.contract.steps import Q

OTHER_Q = "reports"
HOME = "billing"


def chained(
    *links: tuple[str, str], catch: Parcel | None = None, member: Member | None = None
) -> Parcel:
    """Return the first of some links, each a queue and an id, which is its payload too."""
    parcel: Parcel | None = None
    for queue, job_id in reversed(links):
        sequel = Sequel(
            then=parcel.packed() if parcel else b"",
            catch=catch.packed() if catch else b"",
            member=member,
        )
        follows = parcel or catch or member
        packed = sequel.packed() if follows else b""
        parcel = Parcel(queue, NewJob(job_id, job_id.encode(), sequel=packed))
    assert parcel is not None
    return parcel


def job(job_id: str, queue: str = Q, delay: float = 0.0) -> Parcel:
    return Parcel(queue, NewJob(job_id, job_id.encode(), delay))


def batch_of(
    *members: tuple[str, str], batch: str = "batch-1", home: str = HOME, callbacks: str = HOME
) -> NewBatch:
    """Return a batch of jobs with all three callbacks, in the queue ``callbacks``."""
    parcels = [chained(one, member=Member(home, batch, one[1])) for one in members]
    return new_batch(parcels, batch=batch, callbacks=callbacks)


def new_batch(members: Sequence[Parcel], batch: str = "batch-1", callbacks: str = HOME) -> NewBatch:
    then, catch, finally_ = (job(name, callbacks) for name in ("then", "catch", "finally"))
    return NewBatch(batch, members, then, catch, finally_)
