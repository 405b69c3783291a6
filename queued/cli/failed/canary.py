"""``queued failed retry --canary``: one job of each kind goes first, and the others wait for it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import click

from queued.cli import backend
from queued.cli.failed.groups import Group, grouped
from queued.cli.failed.select import Selection, in_batches, selected
from queued.cli.failures import Refused
from queued.cli.jobs import describe
from queued.cli.options import confirmed
from queued.cli.output import plural, print_json
from queued.drivers.base import Driver
from queued.jobs.fingerprint import fingerprint
from queued.units import format_duration

LOOK_EVERY = 0.2
"""Seconds between two looks at a canary."""


class Verdict(StrEnum):
    """What became of a canary."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """It failed again, for good or to be tried again by itself."""
    UNKNOWN = "unknown"
    """It has neither ended nor failed in the time."""
    GONE = "gone"
    """Somebody else had put it back, or removed it."""


@dataclass(slots=True)
class Canary:
    """A job that was put back for its kind."""

    group: Group
    verdict: Verdict = Verdict.UNKNOWN
    error: str = ""
    put_back: int = 0
    """How many of the others were."""

    def __str__(self) -> str:
        said = {
            Verdict.SUCCEEDED: "succeeded",
            Verdict.FAILED: f"failed again: {self.error}",
            Verdict.UNKNOWN: "has not ended yet; does a worker serve its queue?",
            Verdict.GONE: "is no failed job any more",
        }
        others = plural(self.group.count - 1, "other")
        return f"{self.group.example} {said[self.verdict]} ({others}: {self.group.text})"

    def as_json(self) -> dict[str, Any]:
        return self.group.as_json() | {
            "verdict": self.verdict.value,
            "error": self.error,
            "put_back": self.put_back,
        }


def retry_by_canary(
    url: str, selection: Selection, wait: float, *, yes: bool, as_json: bool
) -> None:
    """Put one job of each kind back, wait for it, and then the others of the kinds that are cured.

    :param wait: seconds.
    """

    async def first(driver: Driver) -> list[Canary]:
        canaries = [Canary(group) for group in await grouped(driver, selection)]
        if not as_json and canaries:
            told = f"{plural(len(canaries), 'canary job')} put back"
            click.echo(f"{told}; waiting up to {format_duration(wait)} for them")
        await asyncio.gather(*(_try(driver, canary, wait) for canary in canaries))
        return canaries

    canaries = backend.ask(url, first)
    if not as_json:
        for canary in canaries:
            click.echo(str(canary))
    cured = [one for one in canaries if one.verdict is Verdict.SUCCEEDED and one.group.count > 1]
    others = sum(one.group.count - 1 for one in cured)
    if others and not confirmed(f"Put the other {plural(others, 'job')} back?", yes=yes):
        raise Refused("the others were left")
    backend.ask(url, lambda driver: _put_back(driver, selection, cured))
    if as_json:
        print_json([one.as_json() for one in canaries])
    else:
        click.echo(f"{plural(sum(one.put_back for one in cured), 'other job')} put back")
    if any(one.verdict is not Verdict.SUCCEEDED for one in canaries):
        raise click.exceptions.Exit(1)


async def _try(driver: Driver, canary: Canary, wait: float) -> None:
    group = canary.group
    if not (await driver.requeue(group.queue, [group.example]))[0]:
        canary.verdict = Verdict.GONE
        return
    until = time.monotonic() + wait
    while True:
        info = await driver.find(group.example, group.queue)
        if info is None:  # what is done leaves the back-end
            canary.verdict = Verdict.SUCCEEDED
            return
        if info.failed is not None or info.counts.tries or info.counts.crashes:
            canary.verdict = Verdict.FAILED
            notes = describe.history_of(info.history)
            last = str(notes[-1].get("error", "")) if notes else ""
            canary.error = describe.error_of(info.failed) if info.failed else last
            return
        if time.monotonic() >= until:
            return
        await asyncio.sleep(LOOK_EVERY)


async def _put_back(driver: Driver, selection: Selection, cured: list[Canary]) -> None:
    """Put back what failed before the canaries were tried: what failed since is not theirs."""
    by_id = {one.group.print.id: one for one in cured}
    ids: dict[str, dict[str, list[str]]] = {}
    async for one in selected(driver, selection):
        canary = by_id.get(fingerprint(one.record).id)
        if canary is not None and one.failed_at <= canary.group.last:
            ids.setdefault(canary.group.print.id, {}).setdefault(one.queue, []).append(one.id)
    for print_, by_queue in ids.items():
        by_id[print_].put_back = sum(await in_batches(driver, "requeue", by_queue))
