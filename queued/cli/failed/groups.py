"""Failed jobs by kind: those of one fingerprint, counted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from queued.cli.failed.select import Selection, selected
from queued.jobs.fingerprint import Fingerprint, fingerprint
from queued.jobs.payload import job_name

if TYPE_CHECKING:
    from queued.drivers.base import Driver, FailedJob

MOST_CLASSES = 20


@dataclass(slots=True)
class Group:
    """The failures of one kind. Times are seconds since the epoch."""

    print: Fingerprint
    example: str
    """The id of the newest, and its queue."""
    queue: str
    first: float
    last: float
    count: int = 0
    jobs: set[str] = field(default_factory=set)
    """The classes, up to ``MOST_CLASSES``."""

    def add(self, one: FailedJob) -> None:
        self.count += 1
        self.first = min(self.first, one.failed_at)
        if len(self.jobs) < MOST_CLASSES:
            self.jobs.add(job_name(one.payload) or "?")

    @property
    def text(self) -> str:
        """What people read of it, on one line."""
        kind = self.print.kind.removeprefix("builtins.").removeprefix("queued.errors.")
        where = f" in {self.print.where}" if self.print.where else ""
        return f"{kind or '?'}: {self.print.message}{where}"

    def as_json(self) -> dict[str, Any]:
        return {
            "fingerprint": self.print.id,
            "count": self.count,
            "type": self.print.kind,
            "where": self.print.where,
            "message": self.print.message,
            "jobs": sorted(self.jobs),
            "first_at": self.first,
            "last_at": self.last,
            "example": self.example,
            "queue": self.queue,
        }


async def grouped(driver: Driver, selection: Selection) -> list[Group]:
    """Return the kinds of failures in a selection, in the order of their newest one."""
    groups: dict[str, Group] = {}
    async for one in selected(driver, selection):
        print_ = fingerprint(one.record)
        group = groups.get(print_.id)
        if group is None:
            group = Group(print_, one.id, one.queue, one.failed_at, one.failed_at)
            groups[print_.id] = group
        group.add(one)
    return list(groups.values())
