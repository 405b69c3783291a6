"""Enqueueing without an event loop: one round trip in the caller's own thread.

``queue.sync`` would otherwise hand each job to another thread and wait for it, which costs more
than the round trip itself.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any
from weakref import WeakSet

from queued.drivers.base import Enqueued, NewJob
from queued.drivers.redis.address import ClusterAddress, address_of
from queued.drivers.redis.cluster import ClusterLines
from queued.drivers.redis.codec import newly_enqueued
from queued.drivers.redis.commands import Command, Commands
from queued.drivers.redis.lines import Lines
from queued.drivers.redis.refusals import refusal
from queued.errors import DriverError, DriverUnavailable


class BlockingRedis:
    """``Enqueuer`` of drivers/base.py for Redis and Valkey.

    :raises ConfigError: the URL has an option that is unknown or wrong.
    """

    def __init__(self, url: str) -> None:
        address = address_of(url)
        self._address = str(address)
        self._commands = Commands(address.prefix, whole=isinstance(address, ClusterAddress))
        self._lines: Lines | ClusterLines
        if isinstance(address, ClusterAddress):
            self._lines = ClusterLines(address)
        else:
            self._lines = Lines(address)
        _all.add(self)

    def enqueue(self, queue: str, jobs: Sequence[NewJob]) -> list[Enqueued]:
        """Enqueue as ``Driver.enqueue`` does."""
        try:
            refused = self._run(self._commands.enqueue(queue, jobs))
        except DriverUnavailable as error:
            raise DriverUnavailable(str(error), [job.id for job in jobs]) from error
        return newly_enqueued(len(jobs), refused)

    def close(self) -> None:
        """Close what is idle; a later call connects again."""
        self._lines.close()

    def _run(self, commands: Sequence[Command]) -> Any:
        """Run ``commands`` in one pipeline; return the last reply.

        :raises DriverError: the first error among the replies; the other commands have run.
        """
        replies = self._lines.send(commands)
        for reply in replies:
            if isinstance(reply, DriverError):  # of one node of a cluster
                raise reply
            if isinstance(reply, Exception):
                raise refusal(reply, self._address) from reply
        return replies[-1]


_all: WeakSet[BlockingRedis] = WeakSet()


def _after_fork() -> None:
    for one in list(_all):
        one.close()


os.register_at_fork(after_in_child=_after_fork)
