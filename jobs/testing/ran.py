"""``Ran``: how one run of a job ended."""

from __future__ import annotations

from dataclasses import dataclass

from queued.jobs.job import Job
from queued.jobs.outcome import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """One run, as the daemon would have had it: its outcome and what came after."""

    job: Job | None
    """The instance that ran; None: its payload could not be read."""
    job_id: str
    queue: str
    attempt: int
    """Which run it was: 1 is the first."""
    outcome: Outcome
    error: BaseException | None = None
    """What the job raised; a ``JobTimeout`` if it ran out of time."""
    delay: float | None = None
    """Seconds until it runs again; None: it does not."""
    message: str = ""
    """What the daemon would have logged; empty after a success."""
    hook_called: bool = False
    """Whether its ``failed()`` was called,"""
    hook_error: BaseException | None = None
    """and what that raised, or a ``JobTimeout``."""

    @property
    def succeeded(self) -> bool:
        return self.outcome is Outcome.SUCCEEDED

    @property
    def retried(self) -> bool:
        """It ended in an error or ran out of time, and has tries left."""
        return self.delay is not None

    @property
    def failed(self) -> bool:
        """It was the last try: the job is among the failed ones."""
        return not self.succeeded and self.delay is None

    @property
    def timed_out(self) -> bool:
        return self.outcome is Outcome.TIMED_OUT

    def __repr__(self) -> str:
        hook = f"; failed() raised {self.hook_error!r}" if self.hook_error else ""
        said = self.message or f"{self.job!r} succeeded"
        return f"<Ran {said}{hook}>"
