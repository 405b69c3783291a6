"""What a dispatch answers."""

from __future__ import annotations

from typing import NamedTuple, Self

from queued.drivers.base import Enqueued


class Receipt(NamedTuple):
    """What the back-end acknowledged.

    ``enqueued`` is False if a job of that id was there, or if another job holds the unique key:
    then ``id`` is that job's.
    """

    id: str
    enqueued: bool

    @classmethod
    def of(cls, job_id: str, answer: Enqueued) -> Self:
        """Return the receipt for a driver's answer."""
        return cls(job_id, answer) if isinstance(answer, bool) else cls(answer, enqueued=False)
