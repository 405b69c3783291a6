"""Fields whose annotations are objects, since this module does not import annotations."""

from datetime import datetime, timezone
from typing import ClassVar, Optional

import pytest

from queued.errors import JobDefinitionError
from queued.jobs import payload
from queued.jobs.job import Job


class Plain(Job):
    count: ClassVar[int] = 0
    to: str
    when: Optional[datetime] = None  # noqa: UP045 - as people write it
    next: "Optional[Plain2]" = None  # noqa: UP045

    def handle(self) -> None: ...


class Plain2(Plain.__mro__[1]):  # type: ignore[name-defined, misc]
    """Not a type of a field: only its name has to exist."""


def test_annotations_that_are_objects_work() -> None:
    class Report(Job):
        count: ClassVar[int] = 0
        when: Optional[datetime] = None  # noqa: UP045
        days: "list[int]" = [1]  # noqa: RUF012

        def handle(self) -> None: ...

    job = Report(when=datetime(2024, 1, 1, tzinfo=timezone.utc))  # noqa: UP017
    again = payload.decode(payload.encode(job))

    assert vars(again) == {"when": job.when, "days": [1]}


def test_a_job_is_no_type_of_a_field() -> None:
    with pytest.raises(JobDefinitionError, match="Plain: a field has a type that has no JSON"):
        payload.prepare(Plain)
