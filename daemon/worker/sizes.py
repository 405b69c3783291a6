"""Jobs that are nearly as large as they may be: told of once an hour for each class."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from queued.jobs import registry
from queued.jobs.header import header_of
from queued.policy import Policy, payload_size
from queued.units import format_size

log = structlog.get_logger()

NEAR = 0.8
"""The share of what may be."""
AGAIN = 3600.0
"""Seconds between two lines about one class."""
MAX_CLASSES = 200


class Sizes:
    """What a worker notices about the sizes of its queue's jobs.

    :param clock: monotonic seconds.
    """

    def __init__(
        self, queue: str, policy: Policy, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._queue = queue
        self._of_queue = policy.limit_of(queue)
        own = [cls.max_payload for cls in registry.registered().values()]
        least = min([self._of_queue, *(payload_size(one) for one in own if one is not None)])
        self.notable = round(least * NEAR)
        """Bytes; what is not larger is near no limit."""
        self._clock = clock
        self._told: dict[str, float] = {}

    def tell(self, payload: bytes) -> None:
        """Say that a job is larger than it should be, if it is near the limit that holds for it."""
        line, _, _ = payload.partition(b"\n")
        try:
            name = header_of(line).job
            cls = registry.lookup(name)
        except Exception:  # noqa: BLE001 - its run will say what is wrong with it
            return
        limit, whose = self._of_queue, f"the queue {self._queue}"
        if cls.max_payload is not None:
            limit, whose = payload_size(cls.max_payload), "its class"
        now = self._clock()
        if len(payload) <= limit * NEAR or now < self._told.get(name, 0.0):
            return
        if len(self._told) >= MAX_CLASSES:
            self._told.clear()
        self._told[name] = now + AGAIN
        short = name.rpartition(".")[2]
        log.warning(
            "payload.large",
            message=f"{short} has {format_size(len(payload))} of payload, and at most"
            f" {format_size(limit)} are taken (max_payload of {whose})",
            job=name,
            size=len(payload),
            limit=limit,
            next="store the data elsewhere and dispatch its id",
        )
