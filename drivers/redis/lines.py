"""Connections to one server for threads without an event loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.connection import AbstractConnection
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError

from queued.drivers.redis.address import Address, SentinelAddress, reply_of
from queued.drivers.redis.commands import Command, packed
from queued.drivers.redis.link import CALL_WITHIN
from queued.drivers.redis.refusals import refusal
from queued.drivers.redis.scripts import loads
from queued.drivers.redis.sentinel import connected
from queued.drivers.redis.versions import check_version


class Lines:
    """As many connections as threads ever called at once, each made by the call that lacks one.

    One that the server has closed meanwhile is found out before anything is sent on it.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self.idle: list[_Line] = []

    def send(self, commands: Sequence[Command]) -> list[Any]:
        """Send ``commands`` at once; return their replies, an error as a value.

        What the server refuses for want of a script is sent again.

        :raises DriverError: no connection, no answer in time, a server that is too old.
        """
        line = self._take() or _Line(self._address)
        try:
            replies = line.ask(commands)
            if any(isinstance(reply, NoScriptError) for reply in replies):  # it has not run
                replies = line.ask([*loads(), *commands])
                loaded, replies = replies[: -len(commands)], replies[-len(commands) :]
                refused = next((one for one in loaded if isinstance(one, Exception)), None)
                replies = replies if refused is None else [refused] * len(commands)
        except BaseException as error:  # replies may still be under way
            line.close()
            if isinstance(error, RedisError | OSError):
                raise refusal(error, str(self._address)) from error
            raise
        if any(isinstance(reply, ReadOnlyError) for reply in replies):
            line.close()  # after a failover the name leads elsewhere, for all of them
            self.close()
        else:
            self.idle.append(line)
        return replies

    def close(self) -> None:
        """Close what is idle; a later call connects again."""
        idle, self.idle = self.idle, []
        for line in idle:
            line.close()

    def _take(self) -> _Line | None:
        try:
            while not (line := self.idle.pop()).usable:
                line.close()
        except IndexError:  # none is idle, or another thread was faster
            return None
        return line


class _Line:
    """One connection, made at the first call."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._connection: AbstractConnection | None = None

    @property
    def usable(self) -> bool:
        """Whether the server has neither closed it nor said what nobody asked for."""
        try:
            return self._connection is not None and not self._connection.can_read()
        except (RedisError, OSError):
            return False

    def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Send ``commands`` at once and return their replies, an error reply as a value.

        :raises RedisError, OSError: no connection, or no answer in time.
        :raises DriverUnavailable: the server is too old.
        """
        if self._connection is None:
            self._connection = self._connected()
            [hello] = self._ask(self._connection, [("HELLO",)])
            if isinstance(hello, Exception):
                raise hello
            check_version(hello, str(self._address))
        return self._ask(self._connection, commands)

    def close(self) -> None:
        """In a forked process its parent's end stays open: redis-py sees to that."""
        if self._connection is not None:
            self._connection.disconnect()  # type: ignore[no-untyped-call]

    def _connected(self) -> AbstractConnection:
        if isinstance(self._address, SentinelAddress):
            return connected(self._address)
        connection = self._address.blocking_connection(CALL_WITHIN)
        connection.connect()  # type: ignore[no-untyped-call]
        return connection

    def _ask(self, connection: AbstractConnection, commands: Sequence[Command]) -> list[Any]:
        connection.send_packed_command([packed(commands)], check_health=False)  # type: ignore[no-untyped-call]
        return [reply_of(connection) for _ in commands]
