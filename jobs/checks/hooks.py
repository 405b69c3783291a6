"""Practice 10: a job says what is to be done when it has failed for good."""

from __future__ import annotations

from collections.abc import Iterator

from queued.jobs.checks.rule import Level, Note, Rule
from queued.jobs.checks.subject import Subject
from queued.jobs.job import Job, has_failed_hook

_METHOD = "async def failed(self, exception)"


def _look(subject: Subject) -> Iterator[Note]:
    if not has_failed_hook(subject.cls):
        reason = "it has no failed(): when the last try fails, nobody is told and nothing undone"
        yield Note(reason, f"{_written(subject.cls)}: log it, clean up, tell who waits")


def _written(cls: type[Job]) -> str:
    function = cls.__dict__.get("__function__")
    return "@job(failed=a function of (job, exception))" if function else _METHOD


NO_FAILED = Rule("no-failed", Level.WARNING, "10", "has a failed()", _look)
