"""Redis Sentinel: at every connect the sentinels say where the primary is.

Whom they name is asked for its role as well: a sentinel that was cut off names the former primary.
While a call waits for its answer, they are asked again: a primary that lost its power says nothing
more, not even that the connection is closed, and another may long have taken its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from redis import connection as blocking
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from queued.drivers.redis.address import Address, SentinelAddress, reply_of
from queued.drivers.redis.commands import packed
from queued.drivers.redis.link import CALL_WITHIN
from queued.drivers.redis.refusals import refusal
from queued.drivers.redis.watched import WatchedLink
from queued.drivers.redis.wire import Wire
from queued.errors import DriverUnavailable

ASK_WITHIN = 2.0
"""Seconds until a sentinel that does not answer is passed over."""
ENTER_WITHIN = 3.0
"""Seconds until a primary that does not let anyone in is given up on."""

_HELLO = packed([("HELLO",)])


class Named(NamedTuple):
    """What a sentinel knows of the service."""

    host: str
    port: int
    epoch: int
    """Rises with each failover: one that was cut off names the former primary under a lower one."""


class Search:
    """One search for the primary: whom it may try, and why it found none.

    ``sentinels`` are in the order in which they are asked, and the one that led to the primary is
    put first for the next search.
    """

    def __init__(self, address: SentinelAddress, sentinels: list[Address]) -> None:
        self._address = address
        self._sentinels = sentinels
        self._tried: set[tuple[str, int]] = set()
        self._known = False
        """Whether a sentinel has answered, with whatever."""
        self._why: DriverUnavailable | None = None

    def candidate(self, named: Named | None) -> Address | None:
        """Return whom a sentinel names; None: nobody, or one that was tried."""
        self._known = True
        if named is None or named[:2] in self._tried:
            return None
        self._tried.add(named[:2])
        return self._address.at(named.host, named.port)

    def silent(self, sentinel: Address, error: Exception) -> None:
        """Note that a sentinel gave no answer."""
        if self._why is None or not self._known:
            reason = " ".join(str(error).split()) or "no answer in time"
            if isinstance(error, AuthenticationError):
                reason = "it refuses the login; see sentinel_username and sentinel_password"
            names = ", ".join(map(str, self._address.sentinels))
            self._why = DriverUnavailable(
                f"none of the sentinels {names} answers; {sentinel}: {reason}"
            )

    def refused(self, candidate: Address, error: Exception) -> None:
        """Note that whom a sentinel named cannot be used."""
        if isinstance(error, TimeoutError):
            error = TimeoutError(f"no answer within {ENTER_WITHIN:g} s")
        self._why = DriverUnavailable(str(refusal(error, f"{candidate}, {self._address}")))

    def is_primary(self, candidate: Address, hello: Sequence[Any] | Exception) -> bool:
        """Tell by its HELLO whether a server is a primary; note it if not."""
        if isinstance(hello, Exception):
            self.refused(candidate, hello)
            return False
        if dict(zip(hello[::2], hello[1::2], strict=False)).get(b"role") == b"master":
            return True
        self._why = DriverUnavailable(
            f"Redis at {candidate}, {self._address}: it is a replica; the failover is not over yet"
        )
        return False

    def found_by(self, sentinel: Address) -> None:
        """Have this sentinel asked first next time."""
        self._sentinels.remove(sentinel)
        self._sentinels.insert(0, sentinel)

    def failure(self) -> DriverUnavailable:
        """Return why there is no primary."""
        if self._why is not None and (self._tried or not self._known):
            return self._why
        names = ", ".join(map(str, self._address.sentinels))
        return DriverUnavailable(
            f'the sentinels {names} know no service "{self._address.service}";'
            " it follows the hosts in the URL of the connection"
        )


class SentinelLink(WatchedLink):
    """A link to the primary, whoever that is."""

    def __init__(self, address: SentinelAddress) -> None:
        super().__init__(address)
        self._service = address
        self._sentinels = list(address.sentinels)
        self._at: Named | None = None
        """Where the link leads."""

    async def _is_replaced(self) -> bool:
        first = self._sentinels.pop(0)
        self._sentinels.append(first)  # the next one may know more, or answer at all
        named = await self._asked(first)
        at = self._at
        return bool(named and at and named[:2] != at[:2] and named.epoch >= at.epoch)

    async def _connect(self) -> Wire:
        search = Search(self._service, self._sentinels)
        for sentinel in list(self._sentinels):
            await self._disconnect()
            try:
                named = await self._asked(sentinel)
            except (RedisError, OSError) as error:
                search.silent(sentinel, error)
                continue
            candidate = search.candidate(named)
            if candidate is None:
                continue
            self._connection = candidate.connection()
            try:
                async with asyncio.timeout(ENTER_WITHIN) as bound:
                    wire = await super()._connect()
                    [hello] = await wire.call(_HELLO, 1, bound.when() or 0)
            except (RedisError, OSError) as error:
                search.refused(candidate, error)
                continue
            if search.is_primary(candidate, hello):
                search.found_by(sentinel)
                self._at = named
                return wire
        raise search.failure()

    async def _asked(self, sentinel: Address) -> Named | None:
        """Return what a sentinel knows; None: not the service.

        :raises RedisError, OSError: it does not answer.
        """
        connection = sentinel.connection()
        try:
            async with asyncio.timeout(ASK_WITHIN):
                await connection.connect()  # type: ignore[no-untyped-call]
                for command in _questions(self._service):
                    await connection.send_command(*command)
                return _named([await _reply(connection) for _ in range(2)])
        finally:
            await connection.disconnect(nowait=True)


async def _reply(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


def connected(address: SentinelAddress) -> blocking.AbstractConnection:
    """Return a connection to the primary, open, for a thread without an event loop.

    :raises DriverUnavailable: there is none to be found.
    """
    search = Search(address, list(address.sentinels))
    for sentinel in address.sentinels:
        try:
            candidate = search.candidate(_asked_blocking(sentinel, address))
        except (RedisError, OSError) as error:
            search.silent(sentinel, error)
            continue
        if candidate is None:
            continue
        connection = candidate.blocking_connection(CALL_WITHIN)
        try:
            connection.connect()  # type: ignore[no-untyped-call]
            connection.send_command("HELLO")  # type: ignore[no-untyped-call]
            if search.is_primary(candidate, reply_of(connection)):
                return connection
        except (RedisError, OSError) as error:
            search.refused(candidate, error)
        connection.disconnect()  # type: ignore[no-untyped-call]
    raise search.failure()


def _asked_blocking(sentinel: Address, address: SentinelAddress) -> Named | None:
    connection = sentinel.blocking_connection(ASK_WITHIN)
    try:
        connection.connect()  # type: ignore[no-untyped-call]
        for command in _questions(address):
            connection.send_command(*command)  # type: ignore[no-untyped-call]
        return _named([reply_of(connection) for _ in range(2)])
    finally:
        connection.disconnect()  # type: ignore[no-untyped-call]


def _questions(address: SentinelAddress) -> list[tuple[str, str, str]]:
    """Return what a sentinel is asked: the first follows a failover before it is over."""
    words = ("GET-MASTER-ADDR-BY-NAME", "MASTER")
    return [("SENTINEL", word, address.service) for word in words]


def _named(answers: Sequence[Any]) -> Named | None:
    """Read the answers to ``_questions``; None: it does not know the service.

    :raises RedisError: it refuses to tell.
    """
    where, about = answers
    if where is None:
        return None
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    known = dict(zip(about[::2], about[1::2], strict=False))
    return Named(where[0].decode(), int(where[1]), int(known.get(b"config-epoch", 0)))
