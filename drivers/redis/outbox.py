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

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from queued.drivers.redis.commands import Command, Commands, Value

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

    async def forward(self, queue: str) -> int:
        """Deliver what is in the outbox of ``queue``, and what comes of that; return how much."""
        moved, sources = 0, [queue]
        while sources:
            source = sources.pop()
            while messages := await self.read(source):
                sources += await self.deliver(source, messages)
                await self.remove(source, messages)
                moved += len(messages)
        return moved

    async def read(self, source: str) -> list[Message]:
        """Return the first messages of an outbox."""
        command: Command = ("XRANGE", self._key(source), "-", "+", "COUNT", AT_ONCE)
        [entries] = await self._run([command])
        return [
            Message(entry, target.decode(), kind, body)
            for entry, (_, target, kind, body) in entries
        ]

    async def deliver(self, source: str, messages: Sequence[Message]) -> list[str]:
        """Deliver messages in order; return the targets with something in their own outbox."""
        by_target: dict[str, list[Value]] = {}
        for entry, target, kind, body in messages:
            by_target.setdefault(target, [source]).extend((entry, kind, body))
        waiting = []
        for target, values in by_target.items():
            deliver = self._commands.verb("deliver", target, *values)
            _, left = await self._run([self._commands.name(target), deliver])
            if left:
                waiting.append(target)
        return waiting

    async def remove(self, source: str, messages: Sequence[Message]) -> None:
        """Remove messages that were delivered. Idempotent."""
        await self._run([("XDEL", self._key(source), *(message.id for message in messages))])

    def _key(self, source: str) -> str:
        return self._commands.key("outbox", source)
