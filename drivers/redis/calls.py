"""Commands and what comes of them: replies, or the error to raise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.exceptions import NoScriptError

from queued.drivers.redis.cluster import Cluster
from queued.drivers.redis.commands import Command
from queued.drivers.redis.link import Link
from queued.drivers.redis.refusals import refusal
from queued.drivers.redis.scripts import is_reservation, loads
from queued.errors import DriverError, DriverUnavailable, QueueUnavailable

_TIMES = 3
"""How often a server is given the scripts that it lacks."""


class Calls:
    """The calls of a driver over one link.

    :param address: where that leads, as it may be shown.
    """

    def __init__(self, link: Link | Cluster, address: str) -> None:
        self._link = link
        self._address = address

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """Run ``commands`` in one pipeline; what the server refused for want of a script, again.

        :raises DriverError: the first error among the replies; the other commands have run.
        """
        return self.checked(await self._send(commands)) if commands else []

    async def tried(self, commands: Sequence[Command]) -> list[Any]:
        """Run ``commands`` that are for several queues, as ``run`` does.

        The reply for a queue whose node of a cluster is away, or refuses for now, is
        ``QueueUnavailable``, as a value.
        """
        replies = [
            self._refusal(one) if isinstance(one, Exception) else one
            for one in (await self._send(commands) if commands else ())
        ]
        self.checked([one for one in replies if not isinstance(one, QueueUnavailable)])
        return replies

    async def load_scripts(self) -> None:
        """Have the server know every script."""
        self.checked(await self._link.send(loads()))

    def checked(self, replies: list[Any]) -> list[Any]:
        """Return ``replies`` if none of them is an error.

        :raises DriverError: the first that is.
        """
        for reply in replies:
            if isinstance(reply, Exception):
                error = self._refusal(reply)
                raise error from (None if error is reply else reply)
        return replies

    def first(self, queues: Sequence[str], replies: list[Any]) -> tuple[str, Any]:
        """Return the first of ``queues`` with an answer, and that; if none has one, an empty one.

        :raises DriverUnavailable: none has one, and some could not be asked.
        """
        for queue, reply in zip(queues, replies, strict=True):
            if reply and not isinstance(reply, DriverUnavailable):
                return queue, reply
        self.checked(replies)
        return "", None

    def _refusal(self, reply: Exception) -> DriverError:
        if isinstance(reply, DriverError):  # of one node of a cluster
            return reply
        error = refusal(reply, self._address)
        if isinstance(self._link, Cluster) and isinstance(error, DriverUnavailable):
            return QueueUnavailable(str(error))  # the other nodes may well serve theirs
        return error

    async def _send(self, commands: Sequence[Command]) -> list[Any]:
        replies = await self._link.send(commands)
        for _ in range(_TIMES):  # restarted or flushed while it is given the scripts, too
            refused = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
            if not refused:  # those that are have not run
                break
            last = len(commands) - 1
            if last not in refused and is_reservation(commands[last]):
                refused.append(last)  # it has overtaken them: see ``Call`` in routes.py
            again = await self._link.send([*loads(), *(commands[i] for i in refused)])
            self.checked(again[: -len(refused)])
            for i, reply in zip(refused, again[-len(refused) :], strict=True):
                replies[i] = reply
        return replies
