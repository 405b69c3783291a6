"""PostgreSQL behind the seam: a thread for the connection, idle workers told by NOTIFY."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from queued.drivers.sql.database import Verb
from queued.drivers.sql.exchange import look
from queued.drivers.sql.notices import Notices
from queued.drivers.sql.postgresql_server import PostgresqlServer
from queued.drivers.sql.thread import LazyThread
from queued.drivers.sql.waiting import Sight, Waiter
from queued.errors import DriverUnavailable

P = ParamSpec("P")
T = TypeVar("T")

CALL_WITHIN = 15.0
"""Seconds until a call counts as unavailable: a server that is stopped breaks no connection."""
NAP = 0.001


class PostgresqlDatabase:
    """A ``Database`` on a server. Opened after a fork, by the process that uses it."""

    def __init__(self, url: str) -> None:
        self._server = PostgresqlServer(url)
        self._notices = Notices(self._server.listen)
        self._waiter = Waiter(self._notices, self._look, nap=NAP)
        self._thread = LazyThread("queued-postgresql")

    async def open(self) -> None:
        await self._call(self._server.connect)

    async def close(self) -> None:
        self._notices.detach()
        timer = asyncio.get_running_loop().call_later(CALL_WITHIN, self._server.abort)
        try:
            await self._thread.end(self._disconnect)
        finally:
            timer.cancel()

    def _disconnect(self) -> None:
        self._notices.disconnect()
        self._server.close()

    async def write(self, verb: Verb[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        queue = str(args[0]) if args else ""
        return await self._call(
            self._server.write, queue, lambda session: verb(session, *args, **kwargs)
        )

    async def read(self, verb: Verb[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._call(self._server.read, lambda session: verb(session, *args, **kwargs))

    async def wait(self, queue: str, timeout: float) -> bool:  # noqa: ASYNC109 - a bound, not an error
        self._notices.queues.add(queue)
        return await self._waiter.wait(queue, timeout)

    async def _look(self, queue: str) -> Sight:
        await self._listen()
        version, found = await self._call(
            self._server.glance, queue, lambda session: look(session, queue)
        )
        return Sight(version, *found)

    async def _listen(self) -> None:
        """Have a connection that listens; where none can be had, waiters poll."""
        if self._notices.wanted:
            try:
                await self._call(self._notices.connect)
            except DriverUnavailable:
                return
        self._notices.attach()

    async def _call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function on the thread. When it is cancelled, it goes on to its end unheard."""
        try:
            async with asyncio.timeout(CALL_WITHIN):
                return await self._thread.call(lambda: function(*args, **kwargs))
        except TimeoutError:
            self._server.abort()
            raise self._server.unavailable(f"no answer within {CALL_WITHIN:g} s") from None
