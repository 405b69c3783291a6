"""Which failed jobs a command is about, and going through them a page at a time."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, cast

import click

from queued.cli.options import F, QueueName, Since

if TYPE_CHECKING:
    from queued.drivers.base import Driver, FailedJob

PAGE = 250
"""Failed jobs that are held at a time, for each queue: a payload may have a megabyte."""
BATCH = 1_000
"""Jobs of one step of a verb."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What was asked for; None: anything. Times are seconds since the epoch."""

    queue: str | None = None
    job: str | None = None
    error: str | None = None
    fingerprint: str | None = None
    since: float | None = None
    until: float | None = None

    @property
    def filters(self) -> bool:
        """Whether it says more than a queue."""
        return any((self.job, self.error, self.fingerprint, self.since, self.until))

    def holds(self, one: FailedJob) -> bool:
        """Say whether a failed job is among them; its queue is known to be right."""
        if self.since is not None and one.failed_at < self.since:
            return False
        if self.until is not None and one.failed_at > self.until:
            return False
        return self._is_of_class(one) and self._has_error(one)

    def _is_of_class(self, one: FailedJob) -> bool:
        from queued.jobs.payload import job_name  # noqa: PLC0415 - commands import when they run

        if self.job is None:
            return True
        name = job_name(one.payload) or ""
        return self.job in {name, name.rpartition(".")[2]}

    def _has_error(self, one: FailedJob) -> bool:
        from queued.cli.jobs.describe import error_of  # noqa: PLC0415 - as above
        from queued.jobs.fingerprint import fingerprint  # noqa: PLC0415

        if self.fingerprint is None and self.error is None:
            return True
        print_ = fingerprint(one.record)
        if self.fingerprint is not None and print_.id != self.fingerprint:
            return False
        if self.error is None or self.error in {print_.kind, print_.kind.rpartition(".")[2]}:
            return True
        return self.error.casefold() in error_of(one).casefold()

    def __str__(self) -> str:
        return "".join(
            [
                f" of {self.queue}" if self.queue else "",
                f" of {self.job}" if self.job else "",
                f" with {self.error!r}" if self.error else "",
                f" of fingerprint {self.fingerprint}" if self.fingerprint else "",
                f" since {_moment(self.since)}" if self.since is not None else "",
                f" until {_moment(self.until)}" if self.until is not None else "",
            ]
        )


def selection_options(command: F) -> F:
    """Give a command the filters, as its argument ``selection``."""

    @click.option("--queue", type=QueueName(), metavar="QUEUE", help="Only this queue.")
    @click.option(
        "--job", metavar="CLASS", help="Only jobs of this class, in full or its last part."
    )
    @click.option(
        "--error",
        metavar="NAME|TEXT",
        help="Only this exception's class, or errors that contain the text.",
    )
    @click.option(
        "--fingerprint", metavar="ID", help="Only one group, as `failed list --group` names it."
    )
    @click.option(
        "--since", type=Since(), metavar="TIME", help="Failed since: 1h (ago), or a date."
    )
    @click.option(
        "--until", type=Since(), metavar="TIME", help="Failed until: 1h (ago), or a date."
    )
    @wraps(command)
    def with_selection(
        *args: Any,
        queue: str | None,
        job: str | None,
        error: str | None,
        fingerprint: str | None,
        since: float | None,
        until: float | None,
        **values: Any,
    ) -> Any:
        selection = Selection(queue, job, error, fingerprint, since, until)
        return command(*args, selection=selection, **values)

    return cast("F", with_selection)  # click calls it by name


async def selected(driver: Driver, selection: Selection) -> AsyncIterator[FailedJob]:
    """Yield the failed jobs of a selection, the newest first; a page of each queue is held.

    What fails, or is put back by others, while it goes may be missed; none comes twice.
    """
    from queued.cli import backend  # noqa: PLC0415 - commands import when they run

    sources = [
        _of_queue(driver, name, selection)
        for name in await backend.known_queues(driver, selection.queue)
    ]
    heads = {n: head for n, one in enumerate(sources) if (head := await anext(one, None))}
    while heads:
        newest = max(heads, key=lambda n: heads[n].failed_at)
        yield heads[newest]
        head = await anext(sources[newest], None)
        if head is None:
            del heads[newest]
        else:
            heads[newest] = head


async def ids_of(driver: Driver, selection: Selection) -> dict[str, list[str]]:
    """Return the ids of a selection by queue, the oldest first.

    All are collected before the first is put back: it might fail again meanwhile, for ever.
    """
    by_queue: dict[str, list[str]] = {}
    async for one in selected(driver, selection):
        by_queue.setdefault(one.queue, []).append(one.id)
    return {name: ids[::-1] for name, ids in by_queue.items()}


async def _of_queue(driver: Driver, queue: str, selection: Selection) -> AsyncIterator[FailedJob]:
    seen: set[str] = set()
    offset = 0
    while page := await driver.failed(queue, PAGE, offset):
        offset += len(page)
        for one in page:
            if selection.since is not None and one.failed_at < selection.since:
                return
            if one.id not in seen and selection.holds(one):
                yield one
            seen.add(one.id)  # others that fail meanwhile move it to the next page


def _moment(timestamp: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(timestamp))


async def in_batches(
    driver: Driver, verb: str, by_queue: Mapping[str, Sequence[str]]
) -> list[bool]:
    """Requeue or forget jobs, a thousand in a step; return the answers in order."""
    act: Callable[[str, Sequence[str]], Awaitable[list[bool]]] = getattr(driver, verb)
    answers: list[bool] = []
    for name, ids in by_queue.items():
        for start in range(0, len(ids), BATCH):
            answers += await act(name, ids[start : start + BATCH])
    return answers
