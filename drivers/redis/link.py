"""One connection to the server."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence
from typing import Any
from weakref import WeakSet

from redis.exceptions import ReadOnlyError, RedisError

from queued.drivers.redis.address import Address
from queued.drivers.redis.commands import Command, packed
from queued.drivers.redis.refusals import refusal
from queued.drivers.redis.wire import Wire
from queued.errors import DriverUnavailable

CALL_WITHIN = 10.0
"""Seconds until a call that is not answered counts as unavailable, connecting included."""


class Link:
    """Sends commands and reads their replies, one call at a time; connects when it has to.

    A call that ends in any other way than by its replies (an error, its bound, a cancellation)
    closes the connection, since replies may still be under way, and the next call opens a new one.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._connection = address.connection()
        self._wire: Wire | None = None
        """Reads for the connection, while that is open."""
        self._lock = asyncio.Lock()
        self._calls = 0
        """How many are under way or wait for their turn."""
        self._closed = False
        self.within = CALL_WITHIN
        _links.add(self)

    async def send(self, commands: Sequence[Command], blocking: float = 0.0) -> list[Any]:
        """Send all ``commands`` at once; return their replies, an error reply as a value.

        ``blocking``: how many seconds the server itself may take, as the commands say.

        :raises DriverUnavailable: no connection, or no answer in time. Whether the commands ran is
            unknown.
        """
        within = self.within + blocking
        deadline = asyncio.get_running_loop().time() + within
        data = packed(commands)
        self._calls += 1
        try:
            if self._calls == 1 and self._wire is not None and self._wire.open:
                # Nothing to wait for but the replies, which Wire bounds for a fifth of the cost.
                return await self._send(data, len(commands), deadline)
            async with asyncio.timeout_at(deadline):
                return await self._send(data, len(commands), deadline)
        except TimeoutError as error:
            message = f"Redis at {self._address} did not answer within {within:g} s"
            raise DriverUnavailable(message) from error
        except (RedisError, OSError) as error:
            raise refusal(error, str(self._address)) from error
        finally:
            self._calls -= 1

    @property
    def idle(self) -> bool:
        """Whether no call is under way."""
        return self._calls == 0

    def reopen(self) -> None:
        """Allow calls again after ``close``."""
        self._closed = False

    async def close(self) -> None:
        """Close the connection for good; a call under way raises ``DriverUnavailable``."""
        self._closed = True
        with contextlib.suppress(RedisError, OSError):  # it is gone, which is all that was wanted
            await self._connection.disconnect()
        self._wire = None

    def disinherit(self) -> None:
        """Let go of the connection in a forked process: it is its parent's, and stays open there.

        Its descriptor leads nowhere from now on; closed, its number would be given to another file,
        which whoever tidies up after us would then close.
        """
        writer = self._connection._writer  # noqa: SLF001 - also while no Wire has it yet
        if writer is not None:
            with contextlib.suppress(OSError), open(os.devnull, "rb") as nowhere:  # noqa: PTH123
                os.dup2(nowhere.fileno(), writer.get_extra_info("socket").fileno(), False)

    async def _send(self, data: bytes, count: int, deadline: float) -> list[Any]:
        async with self._lock:
            try:
                wire = self._wire
                if wire is None or not wire.open:  # better seen now than by a command that is lost
                    wire = await self._connect()
                replies = await wire.call(data, count, deadline)
            except BaseException:
                await self._disconnect()
                raise
            if any(isinstance(reply, ReadOnlyError) for reply in replies):
                await self._disconnect()  # after a failover the name leads elsewhere
            return replies

    async def _connect(self) -> Wire:
        await self._disconnect()
        self._refuse_when_closed()
        await self._connection.connect()  # type: ignore[no-untyped-call]
        self._refuse_when_closed()  # meanwhile
        self._wire = Wire(self._connection)
        return self._wire

    async def _disconnect(self) -> None:
        self._wire = None
        await self._connection.disconnect(nowait=True)

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise DriverUnavailable("the connection to Redis was closed by close()")


_links: WeakSet[Link] = WeakSet()


def _after_fork() -> None:
    for link in list(_links):
        link.disinherit()


os.register_at_fork(after_in_child=_after_fork)
