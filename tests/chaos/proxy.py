"""A TCP proxy before a real server: it passes, delays, drops, and resets at a chosen moment.

It runs in a thread of its own, so that it serves tests with and without an event loop, and daemons.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from enum import Enum
from typing import Any, Self, TypeVar

T = TypeVar("T")

CHUNK = 1 << 20
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of no time at all: to close is to send a RST."""


class Moment(Enum):
    """When a connection is reset, as seen from the request."""

    BEFORE = "before the request reaches the server"
    REQUEST = "when half of the request has reached it"
    AFTER = "when the server has carried it out, before a byte of its answer"
    ANSWER = "when half of the answer has come back"


@dataclass(slots=True, eq=False)
class _Pair:
    """The two connections that are one to those who use the proxy."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    doomed: Moment | None = None
    """It ends with the answer to the request that has been passed on."""

    def reset(self) -> None:
        with contextlib.suppress(OSError):
            self.client.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, RESET
            )
        self.client.transport.abort()
        self.server.close()


class Proxy:
    """``with Proxy(server.port) as proxy``: clients connect to ``proxy.port``.

    :ivar target: the port that the next connection is led to.
    :ivar delay: seconds that each request waits before it is passed on.
    :ivar dropping: nothing passes, in either direction, and connections stay open.
    :ivar connections: how many were accepted.
    :ivar left: how many more requests meet their moment.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.delay = 0.0
        self.dropping = False
        self.connections = 0
        self._moment: Moment | None = None
        self._having = b""
        self.left = 0.0
        self._pairs: set[_Pair] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")

    def __enter__(self) -> Self:
        self._thread.start()
        self._listener = self._call(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port: int = self._listener.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def reset(self, moment: Moment, having: bytes = b"", times: float = float("inf")) -> None:
        """Reset the connections of the next requests that contain ``having``, so many times."""
        self._having, self.left, self._moment = having, times, moment

    def heal(self) -> None:
        """Pass everything from now on."""
        self._moment, self.dropping, self.delay = None, False, 0.0

    def reset_all(self) -> None:
        """Reset every connection that there is, whatever is under way."""
        self._call(self._reset_all())

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _reset_all(self) -> None:
        for pair in tuple(self._pairs):
            pair.reset()

    async def _end(self) -> None:
        self._listener.close()
        await self._reset_all()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:  # nobody listens there, and so nobody seems to listen here
            _Pair(writer, writer).reset()
            return
        pair = _Pair(writer, up_writer)
        self._pairs.add(pair)
        ways = [
            asyncio.create_task(self._requests(reader, pair)),
            asyncio.create_task(self._answers(up_reader, pair)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        self._pairs.discard(pair)
        writer.close()
        up_writer.close()

    async def _requests(self, reader: asyncio.StreamReader, pair: _Pair) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                if self.delay:
                    await asyncio.sleep(self.delay)
                if self.dropping:
                    continue
                match self._met(data):
                    case Moment.BEFORE:
                        return pair.reset()
                    case Moment.REQUEST:
                        pair.server.write(data[: len(data) // 2])
                        await pair.server.drain()
                        return pair.reset()
                    case moment:
                        pair.doomed = pair.doomed or moment
                pair.server.write(data)
                await pair.server.drain()
        return None

    async def _answers(self, reader: asyncio.StreamReader, pair: _Pair) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                if self.dropping:
                    continue
                if pair.doomed is Moment.ANSWER:
                    pair.client.write(data[: len(data) // 2])
                    await pair.client.drain()
                if pair.doomed is not None:
                    return pair.reset()
                pair.client.write(data)
                await pair.client.drain()
        return None

    def _met(self, data: bytes) -> Moment | None:
        if self._moment is None or self.left < 1 or self._having not in data:
            return None
        self.left -= 1
        return self._moment
