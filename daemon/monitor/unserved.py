"""Queues in which jobs wait and that nobody serves: most often a name that was mistyped."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from itertools import islice

from queued.drivers.base import Driver
from queued.errors import QueueUnavailable

LOOK_EVERY = 10.0
"""Seconds."""
MAX_TOLD = 20
"""Queues that are told of."""
MAX_LOOKED_AT = 500
"""Queues that are looked at: a back-end that many share may have any number of them."""


async def unserved(driver: Driver, served: Collection[str]) -> dict[str, int]:
    """Return how many jobs wait, by queue, where nobody serves that: neither we nor others.

    What is due counts, and so it is promoted here; what is in an outbox goes where it is served:
    whoever serves a queue would have done so.

    :param served: the queues that this daemon has.
    """
    others = [queue for queue in await driver.queues() if queue not in served][:MAX_LOOKED_AT]
    found: dict[str, int] = {}
    if not others:
        return found
    stats = await driver.stats(others)
    for queue, one in stats.items():
        if not (one.ready or one.scheduled or one.outbox) or living(await driver.owners(queue)):
            continue
        if one.outbox:
            with suppress(QueueUnavailable):  # a target that refuses: what is for it stays
                await driver.forward(queue)
        waiting = one.ready
        if one.scheduled:
            waiting += await driver.promote(queue)
        if waiting:
            found[queue] = waiting
    return dict(islice(sorted(found.items(), key=lambda one: -one[1]), MAX_TOLD))


def living(owners: Mapping[str, float]) -> list[str]:
    """Return those of the owners of a queue that serve it: their leases run.

    :param owners: the seconds left of their leases, as drivers tell them.
    """
    return [owner for owner, left in owners.items() if left > 0]
