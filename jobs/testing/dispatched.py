"""``Dispatched``: a job that a program dispatched, and how it is looked for and shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from queued.drivers.base import NewJob
from queued.jobs import payload
from queued.jobs.function import JobFunction
from queued.jobs.job import Job
from queued.jobs.redaction import HIDDEN, looks_secret
from queued.jobs.text import nearest, one_line
from queued.units import format_duration

JobKind = type[Job] | JobFunction[..., Any]
"""A class of jobs, or the function that stands for one."""

SAME_TIME = 0.5
"""Seconds that a delay may be off: it may come of a time of day."""
MOST_SHOWN = 20


@dataclass(frozen=True)
class Dispatched:
    """A job that reached the fake back-end."""

    queue: str
    new: NewJob
    """As the back-end got it."""
    enqueued: bool
    """False: a job of its id was there, so that nothing was added."""

    @property
    def id(self) -> str:
        return self.new.id

    @property
    def delay(self) -> float:
        """Seconds that it has to wait."""
        return self.new.delay

    @cached_property
    def job(self) -> Job:
        """The job as a worker would get it: decoded of its payload."""
        return payload.decode(self.new.payload)

    def __str__(self) -> str:
        delay = f", in {format_duration(self.delay)}" if self.delay else ""
        again = "" if self.enqueued else f" (not enqueued: {self.id} was there)"
        return f"{self.job!r} to {self.queue}{delay}{again}"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a test expects to have been dispatched."""

    job_class: type[Job]
    fields: Mapping[str, Any] = field(default_factory=dict)
    queue: str | None = None
    delay: float | None = None
    matching: Callable[[Any], bool] | None = None

    def __post_init__(self) -> None:
        definition = self.job_class.__queued__
        for name in self.fields:
            if definition.typed and name not in definition.fields:
                hint = nearest(name, definition.fields)
                raise TypeError(f'{self.job_class.__name__} has no field "{name}"{hint}')

    def among(self, dispatched: Iterable[Dispatched]) -> list[Dispatched]:
        """Return those that it describes."""
        return [one for one in dispatched if one.enqueued and self._is(one)]

    def _is(self, one: Dispatched) -> bool:
        if not isinstance(one.job, self.job_class):
            return False
        if self.queue is not None and one.queue != self.queue:
            return False
        if self.delay is not None and not math.isclose(one.delay, self.delay, abs_tol=SAME_TIME):
            return False
        nothing = object()
        for name, value in self.fields.items():
            if getattr(one.job, name, nothing) != value:
                return False
        return self.matching is None or bool(self.matching(one.job))

    def __str__(self) -> str:
        fields = ", ".join(
            f"{name}={HIDDEN if looks_secret(name) else one_line(repr(value), 80)}"
            for name, value in self.fields.items()
        )
        queue = f" to {self.queue}" if self.queue is not None else ""
        delay = f", in {format_duration(self.delay)}" if self.delay is not None else ""
        matching = ", matching a condition" if self.matching is not None else ""
        return f"{self.job_class.__name__}({fields}){queue}{delay}{matching}"


def class_of(kind: JobKind) -> type[Job]:
    """Return the class of jobs that a test means.

    :raises TypeError: it means none.
    """
    if isinstance(kind, JobFunction):
        return kind.job_class
    if not (isinstance(kind, type) and issubclass(kind, Job)):
        raise TypeError(f"expected a Job class or a @job function, got {kind!r}")
    return kind


def listed(dispatched: Sequence[Dispatched]) -> str:
    """Return what was dispatched, one a line, for the end of a message."""
    if not dispatched:
        return "nothing was dispatched"
    lines = [f"  {one}" for one in dispatched[:MOST_SHOWN]]
    if len(dispatched) > MOST_SHOWN:
        lines.append(f"  and {len(dispatched) - MOST_SHOWN} more")
    return "\n".join(["dispatched were:", *lines])
