"""Reads for a connection: all replies of a call in one wake-up.

redis-py opens connections (TLS, login, database); from then on its streams would wake the caller
for each piece that arrives and walk through six coroutines for each reply.
"""

from __future__ import annotations

import asyncio
from typing import Any

import hiredis
from redis.asyncio.connection import (  # type: ignore[attr-defined]
    AbstractConnection,
    BaseParser,
)
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import InvalidResponse

_MORE = object()


class Wire(asyncio.Protocol):
    """Takes over the transport of an open connection. One call at a time."""

    def __init__(self, connection: AbstractConnection) -> None:
        writer = connection._writer  # noqa: SLF001 - redis-py has no public way to its transport
        assert writer is not None
        self.transport: asyncio.Transport = writer.transport  # type: ignore[assignment]
        self.open = True
        """Whether the server can still answer."""
        self._before = self.transport.get_protocol()
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse, replyError=BaseParser.parse_error, notEnoughData=_MORE
        )
        self._replies: list[Any] = []
        self._count = 0
        self._answered: asyncio.Future[list[Any]] | None = None
        self.transport.set_protocol(self)

    async def call(self, packed: bytes, count: int, deadline: float) -> list[Any]:
        """Send commands and return their ``count`` replies, an error reply as a value.

        If it ends in any other way, replies may still be under way: the connection is to be closed.

        :raises TimeoutError: they were not all there at ``deadline``, in the loop's time.
        :raises ConnectionError: the connection broke.
        """
        if not self.open:
            raise Disconnected("the server closed the connection")
        self._replies, self._count = [], count
        self._answered = self._loop.create_future()
        bound = self._loop.call_at(deadline, self.give_up, TimeoutError())
        self.transport.write(packed)
        try:
            return await self._answered
        finally:
            bound.cancel()
            self._answered = None

    # what the transport calls

    def data_received(self, data: bytes) -> None:
        """Collect replies; the last one wakes the caller."""
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not _MORE:
                self._replies.append(reply)
        except InvalidResponse as error:
            self.give_up(error)
            return
        if self._answered is None or len(self._replies) > self._count:
            self.give_up(Disconnected("the server sent what was not asked for"))
        elif len(self._replies) == self._count and not self._answered.done():
            self._answered.set_result(self._replies)

    def eof_received(self) -> None:
        """Note that no more replies come; the transport closes itself."""
        self.give_up(Disconnected("the server closed the connection"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the caller, and whoever waits for the connection to be closed."""
        self.give_up(exc or Disconnected("the server closed the connection"))
        self._before.connection_lost(exc)

    def give_up(self, error: Exception) -> None:
        """Have the call under way, if any, end with ``error``; there can be no further one."""
        self.open = False
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(error)
