"""From the outbox of one queue to other queues: three steps, each of which may be the last.

    read       the first messages of the outbox, a stream under the queue's own hash tag
    deliver    one script for each target
    remove     them from the outbox

Whoever finds messages in the outbox begins anew, beside others or after one that died. A target
keeps, for each queue that ever sent it anything, the id of the last message that came: the ids of
a stream rise for ever, and every delivery holds all that the outbox still had up to its last one,
so that what is not after that id has come before. A copy that is late, by however much, brings
nothing, also when the job that the message brought has long run and its record is gone.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from queued.drivers.redis.commands import Command, Commands, Value
from queued.drivers.redis.routes import NOTE_AGAIN
from queued.errors import DriverError, DriverUnavailable, QueueUnavailable

AT_ONCE = 200
"""Messages that are read at a time: each may have two megabytes."""


class Message(NamedTuple):
    """One message as it is in the stream."""

    id: bytes
    target: str
    kind: bytes
    body: bytes


class Outbox:
    """The outboxes of a back-end's queues.

    :param run: runs commands in one pipeline, and raises what the server says of them.
    """

    def __init__(
        self, commands: Commands, run: Callable[[Sequence[Command]], Awaitable[list[Any]]]
    ) -> None:
        self._commands = commands
        self._run = run
        self._noted: dict[str, float] = {}
        """Until when the name of a target needs no more notes, in monotonic seconds."""

    async def forward(self, queue: str) -> int:
        """Deliver what is in the outbox of ``queue``, and what comes of that; return how much.

        :raises QueueUnavailable: a target refused its messages, which stay; others' are delivered.
        """
        moved, sources = 0, [queue]
        refused: dict[tuple[str, str], DriverError] = {}
        while sources:
            source, after = sources.pop(), b"-"
            while messages := await self.read(source, after):
                after = b"(" + messages[-1].id
                for target, batch in _by_target(messages).items():
                    if (source, target) in refused:
                        continue  # its order stays
                    try:
                        waiting = await self.deliver(source, target, batch)
                    except DriverError as error:
                        refused[source, target] = error
                        continue
                    await self.remove(source, batch)
                    moved += len(batch)
                    if waiting:
                        sources.append(target)
        if refused:  # the outbox was read after that: it is not the whole back-end
            (_, target), reason = next(iter(refused.items()))
            raise QueueUnavailable(f"{target} takes nothing out of outboxes: {reason}") from reason
        return moved

    async def read(self, source: str, after: bytes = b"-") -> list[Message]:
        """Return the first messages of an outbox, or those from ``after`` on, in XRANGE's words."""
        command: Command = ("XRANGE", self._key(source), after, "+", "COUNT", AT_ONCE)
        [entries] = await self._run([command])
        return [
            Message(entry, target.decode(), kind, body)
            for entry, (_, target, kind, body) in entries
        ]

    async def deliver(self, source: str, target: str, messages: Sequence[Message]) -> bool:
        """Deliver messages in order; return whether the target's own outbox has something."""
        values: list[Value] = [source]
        for entry, _, kind, body in messages:
            values += (entry, kind, body)
        await self._note(target)
        [left] = await self._run([self._commands.verb("deliver", target, *values)])
        return bool(left)

    async def _note(self, target: str) -> None:
        """Note the name of a queue, if it is new: a full memory refuses that of a known one, too.

        What is in an outbox belongs to jobs under way, and is delivered all the same. Of a cluster
        another node may have the names, which holds nobody up who has noted this one before.
        """
        if time.monotonic() < self._noted.get(target, 0.0):
            return
        note = self._commands.name(target)
        try:
            [known] = await self._run([("SISMEMBER", *note[1:])])
            if not known:
                await self._run([note])
        except DriverUnavailable:
            if target not in self._noted:
                raise
        self._noted[target] = time.monotonic() + NOTE_AGAIN

    async def remove(self, source: str, messages: Sequence[Message]) -> None:
        """Remove messages that were delivered. Idempotent."""
        await self._run([("XDEL", self._key(source), *(message.id for message in messages))])

    def _key(self, source: str) -> str:
        return self._commands.key("outbox", source)


def _by_target(messages: Sequence[Message]) -> dict[str, list[Message]]:
    by_target: dict[str, list[Message]] = {}
    for message in messages:
        by_target.setdefault(message.target, []).append(message)
    return by_target
