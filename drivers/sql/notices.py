"""Hears what PostgreSQL tells its listeners, through a connection of its own.

When that connection dies, waiters look at once, and then often, until there is another.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg

TOLD, UNTOLD = 2.0, 0.25
"""Seconds after which a waiter should look again although nothing was heard."""
RECONNECT_EVERY = 2.0


class Notices:
    """A ``Watch`` that is told of what happens to ``queues``.

    It listens whether or not anybody waits: the server's own queue of notices must not wait for it.
    """

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]]) -> None:
        self.poll = UNTOLD
        self.queues: set[str] = set()
        self._connect = connect
        self._connection: psycopg.Connection[Any] | None = None
        self._descriptor = -1
        self._loop: asyncio.AbstractEventLoop | None = None
        self._try_at = 0.0
        self._heard = asyncio.Event()

    @property
    def wanted(self) -> bool:
        """Whether to ``connect`` now; said once in a while."""
        now = time.monotonic()
        if self._connection is not None or now < self._try_at:
            return False
        self._try_at = now + RECONNECT_EVERY
        return True

    def connect(self) -> None:
        """On the thread that may block; ``attach`` follows on the loop, or ``disconnect`` here."""
        self._connection = self._connect()

    def attach(self) -> None:
        """Hear from now on. What was told before may have been missed: whoever waits looks."""
        if self._connection is not None and self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._descriptor = self._connection.fileno()
            self._loop.add_reader(self._descriptor, self._read)
            self.poll = TOLD
            self._heard.set()

    def detach(self) -> None:
        """Stop to hear, on the loop; the connection stays for ``disconnect``."""
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.remove_reader(self._descriptor)
        self.poll = UNTOLD

    def disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()

    def hear(self) -> None:
        self._read()
        self._heard.clear()

    def _read(self) -> None:
        if self._connection is None or self._loop is None:
            return
        server = self._connection.pgconn
        told = False
        try:
            server.consume_input()
            while (notice := server.notifies()) is not None:
                told = told or notice.extra.decode() in self.queues
        except psycopg.Error:
            self.detach()
            self.disconnect()
            told = True
        if told:
            self._heard.set()

    async def changed(self, timeout: float) -> bool:  # noqa: ASYNC109 - a bound, not an error
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                return await self._heard.wait()
        return False
