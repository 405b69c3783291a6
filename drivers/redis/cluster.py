"""A cluster as one back-end: a link for each node, and each command to the node of its slot."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.exceptions import RedisError

from queued.drivers.redis.address import Address, ClusterAddress, reply_of
from queued.drivers.redis.commands import Command
from queued.drivers.redis.lines import Lines
from queued.drivers.redis.link import CALL_WITHIN, Link
from queued.drivers.redis.refusals import refusal
from queued.drivers.redis.routes import ASK_WITHIN, QUESTION, Call, Part, Routes, nobody
from queued.drivers.redis.watched import WatchedLink
from queued.drivers.several import Host
from queued.errors import DriverError, DriverUnavailable, QueueUnavailable


class Cluster:
    """What ``Link`` is for one server; links are made when something is to be sent to a node.

    :param routes: the map, which several may share.
    """

    def __init__(self, address: ClusterAddress, routes: Routes) -> None:
        self._address = address
        self._routes = routes
        self._links: dict[Host, _NodeLink] = {}
        self._learning = asyncio.Lock()
        self._closed = False
        self.within = CALL_WITHIN

    async def send(self, commands: Sequence[Command], blocking: float = 0.0) -> list[Any]:
        """Send ``commands``, each to its node; return their replies, an error as a value.

        Of a node that cannot be reached, or does not answer in time, it is ``QueueUnavailable``:
        whether its commands ran is unknown. Those of other nodes are not affected.

        :param blocking: how many seconds the server itself may take, as the commands say.
        :raises DriverError: no node says who owns what.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.within + blocking
        call = Call(self._routes, commands)
        while True:
            if self._routes.stale:
                await self._learn()
            parts = call.parts()
            if len(parts) == 1:
                await self._send(call, parts[0], blocking)
            else:
                await asyncio.gather(*(self._send(call, part, blocking) for part in parts))
            pause = call.pause
            if call.over:
                return call.replies
            if loop.time() + pause > deadline:
                return call.give_up()
            await asyncio.sleep(pause)

    def reopen(self) -> None:
        """Allow calls again after ``close``."""
        self._closed = False

    async def close(self) -> None:
        """Close all connections for good; a call under way raises ``DriverUnavailable``."""
        self._closed = True
        links, self._links = self._links, {}
        for link in links.values():
            await link.close()

    async def _send(self, call: Call, part: Part, blocking: float) -> None:
        try:
            call.take(part, await self._link(part.host).send(part.commands, blocking))
        except DriverUnavailable as error:
            call.take(part, error if self._closed else QueueUnavailable(str(error)))
        except DriverError as error:
            call.take(part, error)

    async def _learn(self) -> None:
        """Have the map drawn anew, if no other call has done so meanwhile."""
        async with self._learning:
            if self._routes.stale:
                await self._ask(self._routes.to_ask())

    async def _ask(self, hosts: Sequence[Host]) -> None:
        """Ask one node after the other who owns what."""
        why: Exception | None = None
        for host in hosts:
            try:
                async with asyncio.timeout(ASK_WITHIN):
                    [answer] = await self._link(host).send([QUESTION])
                self._routes.learn(answer, host)
            except (DriverError, TimeoutError) as error:
                self._routes.silent(host)
                why = error
            else:
                await self._tidy_up()
                return
        raise nobody(self._address, why)

    async def _tidy_up(self) -> None:
        """Close idle links to nodes that own nothing any more."""
        for host in self._links.keys() - self._routes.nodes:
            link = self._links.get(host)
            if link is not None and link.idle:
                del self._links[host]
                await link.close()

    async def owns_nothing(self, host: Host) -> bool:
        """Ask the other nodes whether ``host`` has lost its slots to a replica.

        :raises DriverError: none of them answers.
        """
        async with self._learning:
            await self._ask([other for other in self._routes.to_ask() if other != host])
        return host not in self._routes.nodes

    def _link(self, host: Host) -> Link:
        if self._closed:
            raise DriverUnavailable("the connection to Redis was closed by close()")
        link = self._links.get(host)
        if link is None:
            link = self._links[host] = _NodeLink(self._address, host, self.owns_nothing)
        link.within = self.within
        return link


class _NodeLink(WatchedLink):
    """The link to one node."""

    def __init__(
        self, address: ClusterAddress, host: Host, owns_nothing: Callable[[Host], Awaitable[bool]]
    ) -> None:
        super().__init__(address.at(*host))
        self._host = host
        self._owns_nothing = owns_nothing

    async def _is_replaced(self) -> bool:
        return await self._owns_nothing(self._host)


class ClusterLines:
    """The like for threads without an event loop: what ``Lines`` is for one server."""

    def __init__(self, address: ClusterAddress) -> None:
        self._address = address
        self._routes = Routes(address)
        self._nodes: dict[Host, Lines] = {}
        self._learning = threading.Lock()

    def send(self, commands: Sequence[Command]) -> list[Any]:
        """Send ``commands``, as ``Cluster.send`` does, but to one node after the other.

        :raises DriverError: no node says who owns what.
        """
        deadline = time.monotonic() + CALL_WITHIN
        call = Call(self._routes, commands)
        while True:
            if self._routes.stale:
                self._learn()
            for part in call.parts():
                try:
                    call.take(part, self._lines(part.host).send(part.commands))
                except DriverError as error:
                    call.take(part, error)
            pause = call.pause
            if call.over:
                return call.replies
            if time.monotonic() + pause > deadline:
                return call.give_up()
            time.sleep(pause)

    def close(self) -> None:
        """Close what is idle; a later call connects again."""
        self._learning = threading.Lock()  # in a forked process nobody would release it
        nodes, self._nodes = self._nodes, {}
        for lines in nodes.values():
            lines.close()

    def _learn(self) -> None:
        with self._learning:
            if not self._routes.stale:
                return  # another thread has asked meanwhile
            why: Exception | None = None
            for host in self._routes.to_ask():
                try:
                    self._routes.learn(_asked(self._address.at(*host)), host)
                except DriverError as error:
                    self._routes.silent(host)
                    why = error
                else:
                    return
            raise nobody(self._address, why)

    def _lines(self, host: Host) -> Lines:
        return self._nodes.setdefault(host, Lines(self._address.at(*host)))


def _asked(node: Address) -> Any:
    """Return what a node says of who owns what, over a connection for this question alone.

    :raises DriverError: it does not answer.
    """
    connection = node.blocking_connection(ASK_WITHIN)
    try:
        connection.connect()  # type: ignore[no-untyped-call]
        connection.send_command(*QUESTION)  # type: ignore[no-untyped-call]
        return reply_of(connection)
    except (RedisError, OSError) as error:
        raise refusal(error, str(node)) from error
    finally:
        connection.disconnect()  # type: ignore[no-untyped-call]
