"""Enqueueing without an event loop: one round trip in the caller's own thread.

``queue.sync`` would otherwise hand each job to another thread and wait for it, which costs more
than the round trip itself.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any
from weakref import WeakSet

from hiredis import pack_command
from redis.connection import AbstractConnection
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError

from queued.drivers.base import Enqueued, NewJob
from queued.drivers.redis.address import Address, SentinelAddress, address_of
from queued.drivers.redis.codec import newly_enqueued
from queued.drivers.redis.commands import Command, Commands
from queued.drivers.redis.link import CALL_WITHIN
from queued.drivers.redis.refusals import refusal
from queued.drivers.redis.scripts import scripts
from queued.drivers.redis.sentinel import connected, reply_of
from queued.drivers.redis.versions import check_version
from queued.errors import DriverUnavailable

_VERBS = ("enqueue", "post")


class BlockingRedis:
    """``Enqueuer`` of drivers/base.py for Redis and Valkey.

    Each call takes an idle connection, or makes one: as many are kept as threads ever called at
    once. One that the server has closed meanwhile is found out before anything is sent on it.

    :raises ConfigError: the URL has an option that is unknown or wrong.
    """

    def __init__(self, url: str) -> None:
        self._address = address_of(url)
        self._commands = Commands(self._address.prefix)
        self._idle: list[_Line] = []
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
        idle, self._idle = self._idle, []
        for line in idle:
            line.close()

    def _run(self, commands: Sequence[Command]) -> Any:
        """Run ``commands`` in one pipeline; return the last reply.

        :raises DriverError: the first error among the replies; the other commands have run.
        """
        line = self._take() or _Line(self._address)
        try:
            replies = line.ask(commands)
            if any(isinstance(reply, NoScriptError) for reply in replies):  # it has not run
                loads = [("SCRIPT", "LOAD", scripts()[verb].text) for verb in _VERBS]
                replies = line.ask([*loads, *commands])
        except BaseException as error:  # replies may still be under way
            line.close()
            if isinstance(error, RedisError | OSError):
                raise refusal(error, str(self._address)) from error
            raise
        if any(isinstance(reply, ReadOnlyError) for reply in replies):
            line.close()  # after a failover the name leads elsewhere, for all of them
            self.close()
        else:
            self._idle.append(line)
        for reply in replies:
            if isinstance(reply, Exception):
                raise refusal(reply, str(self._address)) from reply
        return replies[-1]

    def _take(self) -> _Line | None:
        try:
            while not (line := self._idle.pop()).usable:
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
        # hiredis' own stub says a tuple of one.
        packed = b"".join([pack_command(command) for command in commands])  # type: ignore[arg-type]
        connection.send_packed_command([packed], check_health=False)  # type: ignore[no-untyped-call]
        return [reply_of(connection) for _ in commands]


_all: WeakSet[BlockingRedis] = WeakSet()


def _after_fork() -> None:
    for one in list(_all):
        one.close()


os.register_at_fork(after_in_child=_after_fork)
