"""Who of a cluster owns which slot, and how the commands of one call find their nodes.

No input and no output here: ``cluster.py`` sends for an event loop, ``blocking.py`` for threads.
See docs/adr/0014.
"""

from __future__ import annotations

import random
import time
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, NamedTuple

from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    NoScriptError,
    TryAgainError,
)

from queued.drivers.redis.address import ClusterAddress
from queued.drivers.redis.commands import Command
from queued.drivers.redis.refusals import refusal
from queued.drivers.redis.scripts import is_reservation, loads
from queued.drivers.several import Host
from queued.errors import DriverError, DriverUnavailable, QueueUnavailable

ASK_WITHIN = 2.0
"""Seconds until a node that does not say who owns what is passed over."""
NOTE_AGAIN = 60.0
"""Seconds after which the name of a queue is noted once more: a failover may have lost it."""

QUESTION: Command = ("CLUSTER", "SLOTS")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5
_AT_ONCE = 3
"""Rounds of a call without a pause: NOSCRIPT after MOVED takes two."""
_WITHOUT_KEY = {"HELLO", "SCRIPT"}


class Routes:
    """The map of a cluster, as far as it is known; and which names of queues were noted."""

    def __init__(self, address: ClusterAddress) -> None:
        self.address = address
        self._map: tuple[list[int], list[tuple[int, Host]]] = ([], [])
        """Where each range of slots starts; and where it ends, with its owner."""
        self._moved: dict[int, Host] = {}
        self._noted: dict[Any, float] = {}
        self._source: Host | None = None
        """Who drew the map."""
        self._silent: set[Host] = set()
        """Who did not answer when last asked for anything."""
        self.stale = True
        """Whether somebody is to be asked before anything is sent."""

    @property
    def nodes(self) -> set[Host]:
        """All that own slots."""
        return {host for _, host in self._map[1]} | set(self._moved.copy().values())

    def to_ask(self) -> list[Host]:
        """Return whom to ask for the map, one after the other: who was silent comes last."""
        known = list(self.nodes)
        random.shuffle(known)
        every = dict.fromkeys([*known, *self.address.nodes])
        return sorted(every, key=self._silent.__contains__)

    def learn(self, answer: Any, asked: Host) -> None:
        """Take over what a node answers to ``QUESTION``.

        :raises DriverError: it refuses, as one that is of no cluster does.
        """
        if isinstance(answer, Exception):
            if "cluster support disabled" in str(answer):
                where = self.address.at(*asked)
                raise DriverError(f"Redis at {where} is not part of a cluster: use redis://")
            raise refusal(answer, str(self.address.at(*asked)))
        ranges = sorted(
            (first, last, (_host(owner[0], asked), owner[1])) for first, last, owner, *_ in answer
        )
        ends = [(last, host) for _, last, host in ranges]
        self._map = [first for first, _, _ in ranges], ends  # at once, for other threads
        self._moved = {}
        self._source, self.stale = asked, False
        self._silent.discard(asked)

    def silent(self, host: Host) -> None:
        """Note who did not answer: it is asked last."""
        self._silent.add(host)

    def forget(self) -> None:
        """Have the map drawn anew: a node could not be reached, or slots have no owner."""
        self.stale = True

    def move(self, slot: int, host: Host) -> None:
        """Note what MOVED says."""
        self._moved[slot] = host

    def owner(self, command: Command) -> Host | None:
        """Return the node that a command is for; None: its slot has no owner."""
        if command[0] in _WITHOUT_KEY:
            return self._source
        key = command[3] if command[0] == "EVALSHA" else command[1]
        slot = key_slot(key.encode() if isinstance(key, str) else bytes(key))
        moved = self._moved.get(slot)
        if moved is not None:
            return moved
        starts, ends = self._map
        at = bisect_right(starts, slot) - 1
        return ends[at][1] if at >= 0 and slot <= ends[at][0] else None

    def note(self, name: Any) -> None:
        """Remember that the cluster has the name of this queue."""
        self._noted[name] = time.monotonic()

    def noted(self, name: Any) -> float | None:
        """Return how many seconds ago the name was noted; None: not by this process."""
        at = self._noted.get(name)
        return None if at is None else time.monotonic() - at


class Part(NamedTuple):
    """What is for one node: ``commands``, of whose replies those at ``places`` are asked for."""

    host: Host
    commands: list[Command]
    places: list[tuple[int, int]]
    """Of each command that is asked for: its index in the call, and in ``commands``."""


class Call:
    """The commands of one call: what is answered, and what has yet to be sent.

    A reply that says that the command has not run (MOVED, ASK, TRYAGAIN, CLUSTERDOWN, NOSCRIPT) has
    it sent again in the next round. What may have run is never sent again: the reply is then the
    ``DriverUnavailable`` of its node, as a value. Commands of one slot stay in their order.

    The name of a queue is noted before anything is sent that puts jobs into it: a name without
    jobs is harmless. Once noted it holds nobody up any more, whatever becomes of its node.
    """

    def __init__(self, routes: Routes, commands: Sequence[Command]) -> None:
        self._routes = routes
        self._commands = commands
        self.replies: list[Any] = [None] * len(commands)
        self._left = dict.fromkeys(range(len(commands)))
        self._names: set[int] = set()
        """Those that come first."""
        self._asked: dict[int, Host] = {}
        self._unscripted: set[Host] = set()
        """Who is to be given every script: with some of them, a later command would overtake."""
        self._rounds = 0
        self._waits = False
        for index, command in enumerate(commands):
            if command[0] == "SADD":
                age = routes.noted(command[2])
                if age is None:
                    self._names.add(index)
                elif age < NOTE_AGAIN:
                    self._answer(index, 0)
                else:
                    routes.note(command[2])  # one call a minute does it, and waits for its node

    @property
    def over(self) -> bool:
        """Whether each command has a reply, at least one that says why it did not run."""
        return not self._left

    def give_up(self) -> list[Any]:
        """Return the replies though some are missing, as the call's time is over.

        Of what was sent it is why it did not run. What never was has not run either.
        """
        for index in self._left:
            if self.replies[index] is None:
                why = "its cluster left no time to send this"
                self.replies[index] = QueueUnavailable(f"{self._routes.address}: {why}")
        return self.replies

    @property
    def pause(self) -> float:
        """How many seconds to wait before the next round."""
        if not self._waits and self._rounds < _AT_ONCE:
            return 0.0
        doubled = _FIRST_PAUSE * 2.0 ** min(self._rounds, 10)
        return random.uniform(0.5, 1.0) * min(doubled, _LONGEST_PAUSE)  # noqa: S311 - no secret

    def parts(self) -> list[Part]:
        """Return what is to be sent now, to each node at once."""
        self._rounds += 1
        self._waits = False
        parts: dict[Host, Part] = {}
        for index in sorted(self._names or self._left):
            command = self._commands[index]
            host = self._asked.get(index) or self._routes.owner(command)
            if host is None:
                self._refused(index, ClusterDownError("nobody serves this slot"), ("", 0))
                continue
            part = parts.setdefault(host, Part(host, [], []))
            if host in self._unscripted:
                self._unscripted.discard(host)
                part.commands.extend(loads())
            if index in self._asked:
                part.commands.append(("ASKING",))
            part.places.append((index, len(part.commands)))
            part.commands.append(command)
        return list(parts.values())

    def take(self, part: Part, replies: Sequence[Any] | DriverError) -> None:
        """Take the replies of a node, or why there are none."""
        if isinstance(replies, DriverError):
            self._routes.silent(part.host)
            self._routes.forget()
        for index, place in part.places:
            reply = replies if isinstance(replies, DriverError) else replies[place]
            if isinstance(reply, Exception):
                self._refused(index, reply, part.host)
                continue
            self._answer(index, reply)
            if self._commands[index][0] == "SADD":
                self._routes.note(self._commands[index][2])
        self._keep_order(part)
        self._stop_without_names()

    def _keep_order(self, part: Part) -> None:
        """Have a reservation sent again behind what was sent with it and has not run.

        Its nonce makes that safe: it answers with the same jobs, and with what is due by then.
        """
        last = part.places[-1][0]
        if is_reservation(self._commands[last]) and any(i in self._left for i, _ in part.places):
            self._left[last] = None

    def _stop_without_names(self) -> None:
        if self._names:
            return
        for command, reply in zip(self._commands, self.replies, strict=True):
            if command[0] == "SADD" and isinstance(reply, Exception):
                for index in list(self._left):
                    self._answer(index, reply)

    def _answer(self, index: int, reply: Any) -> None:
        self.replies[index] = reply
        self._left.pop(index, None)
        self._names.discard(index)

    def _refused(self, index: int, error: Exception, host: Host) -> None:
        """Take an error: have the command sent again if it has not run, else answer with it."""
        command, asked = self._commands[index], self._asked.pop(index, None)
        self.replies[index] = TryAgainError(str(error)) if isinstance(error, AskError) else error
        match error:
            case AskError() | TryAgainError() | ClusterDownError() if command[0] == "BLPOP":
                self._answer(index, None)  # as if woken: what follows looks at the right place
            case MovedError():
                self._routes.move(error.slot_id, (_host(error.host, host), error.port))
            case AskError():
                self._asked[index] = (_host(error.host, host), error.port)
            case TryAgainError():
                self._waits = True
            case ClusterDownError():
                self._waits = True
                self._routes.forget()
            case NoScriptError():
                self._unscripted.add(host)
                if asked:
                    self._asked[index] = asked
            case _:
                self._answer(index, error)
        if command[0] == "SADD" and self._routes.noted(command[2]) is not None:
            self._answer(index, 0)  # the cluster has it, and is told again by a later call


def nobody(address: ClusterAddress, why: Exception | None) -> DriverError:
    """Return the error for a cluster of which no node says who owns what."""
    if isinstance(why, DriverError) and not isinstance(why, DriverUnavailable):
        return why  # an answer, which no other node would give another of
    reason = str(why or "no answer in time")
    return DriverUnavailable(f"no node of {address} says who owns what; the last one: {reason}")


def _host(named: Any, asked: Host) -> str:
    """Return a host as a node names it: empty, it means its own."""
    host = named.decode() if isinstance(named, bytes) else named
    return host or asked[0]
