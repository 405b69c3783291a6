"""Commands as they are sent: EVALSHA, the keys of one queue, and values."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

from hiredis import pack_command

from queued.drivers.base import (
    MAX_BATCH,
    Ack,
    Fail,
    FailedJob,
    Lane,
    NewJob,
    RateLimit,
    Release,
    Retry,
    Settlement,
    Unique,
)
from queued.drivers.redis.codec import milliseconds, pack_fence, pack_id, restorable
from queued.drivers.redis.scripts import scripts
from queued.drivers.sequel import NewBatch, Parcel, Sequel

Value = str | bytes | int
Command = tuple[Value, ...]
_T = TypeVar("_T")


class Commands:
    """Makes commands for queues whose keys start with ``prefix``.

    :param whole: have no script run on half a queue. Each names a key that never is: a node that
        gives its slot away, or takes it, key by key, runs none that names a key which it lacks.
    """

    def __init__(self, prefix: str, *, whole: bool = False) -> None:
        self._prefix = prefix
        self._never = ["never"] if whole else []
        self._scripts = scripts()
        self._head = lru_cache(maxsize=4096)(self._head_of)

    def key(self, name: str, queue: str = "") -> str:
        """Return a key of a queue, under its hash tag, or one that belongs to none."""
        return f"{self._prefix}:{{{queue}}}:{name}" if queue else f"{self._prefix}:{name}"

    def verb(self, verb: str, queue: str, *values: Value, owner: str = "") -> Command:
        """Return the call of a verb's script; ``owner`` is whose reservations it works on."""
        return (*self._head(verb, queue, owner), *values)

    def enqueue(self, queue: str, jobs: Sequence[NewJob]) -> list[Command]:
        """Return the calls that enqueue; the last one answers."""
        ids, payloads, delays, uniques, sequels = zip(*jobs, strict=True)
        if any(sequels):
            return [self.name(queue), self._post(queue, jobs)]
        values = (len(jobs), *map(pack_id, ids), *payloads)
        unique = any(uniques)
        if unique or any(delays):
            values += tuple(map(milliseconds, delays))
        if unique:
            names, times = zip(*map(_held, uniques), strict=True)
            values += (*names, *times)
        return [self.name(queue), self.verb("enqueue", queue, *values)]

    def _post(self, queue: str, jobs: Sequence[NewJob]) -> Command:
        values: list[Value] = []
        for job in jobs:
            values += (Parcel(queue, job).packed(), *_held(job.unique))
        return self.verb("post", queue, *values)

    def enqueue_batch(self, queue: str, batch: NewBatch) -> list[Command]:
        """Return the calls that create a batch; the last one answers."""
        callbacks = (batch.then, batch.catch, batch.finally_)
        values: list[Value] = [batch.id]
        values += [parcel.packed() if parcel else b"" for parcel in callbacks]
        for parcel in batch.members:
            member = Sequel.of(parcel.job.sequel).member
            assert member is not None
            values += (member.id, parcel.packed())
        return [self.name(queue), self.verb("enqueue_batch", queue, *values)]

    def restore(self, queue: str, failed: Sequence[FailedJob]) -> list[Command]:
        """Return the calls that store failed jobs; the last one answers."""
        values = [value for job in failed for value in restorable(job)]
        return [self.name(queue), self.verb("restore", queue, *values)]

    def name(self, queue: str) -> Command:
        """Return the call that notes the name of a queue.

        It is under no hash tag, so that the scripts cannot store it.
        """
        return ("SADD", self.key("queues"), queue)

    def reserve(
        self,
        queue: str,
        owner: str,
        *,
        want: int,
        nonce: int,
        lease: float,
        lane: Lane,
        limit: RateLimit | None,
    ) -> Command:
        """Return the call that reserves, as ``Driver.exchange`` describes it."""
        values: tuple[Value, ...] = (min(want, MAX_BATCH), nonce, milliseconds(lease), lane)
        if limit is not None:
            values += (f"{limit.every * 1000:.6f}", limit.burst)
        return self.verb("reserve", queue, owner, *values, owner=owner)

    def settle(self, queue: str, owner: str, settlements: Sequence[Settlement]) -> list[Command]:
        """Return the calls that settle: one script for each kind, and each 1,000 of acks."""
        acks: list[Ack] = []
        others: dict[str, list[Value]] = {}
        for one in settlements:
            if isinstance(one, Ack):
                acks.append(one)
                continue
            values: tuple[Value, ...] = (
                pack_id(one.id),
                pack_fence(one.fence),
                one.charge,
                one.note,
            )
            match one:
                case Retry():
                    others.setdefault("retry", []).extend((*values, milliseconds(one.delay)))
                case Release():
                    others.setdefault("release", []).extend(values)
                case Fail():
                    hook = -1 if one.hook is None else milliseconds(one.hook)
                    others.setdefault("fail", []).extend((*values, one.record, hook))
        commands = []
        for batch in batches(acks):
            ids, fences = zip(*batch, strict=True)
            values = (*map(pack_id, ids), *map(pack_fence, fences))
            commands.append(self.verb("ack", queue, *values, owner=owner))
        commands += [self.verb(verb, queue, *args, owner=owner) for verb, args in others.items()]
        return commands

    def _head_of(self, verb: str, queue: str, owner: str) -> Command:
        script = self._scripts[verb]
        names = [f"held:{owner}" if name == "held" else name for name in script.keys]
        names += self._never
        return ("EVALSHA", script.sha, len(names), *(self.key(name, queue) for name in names))


def _held(unique: Unique | None) -> tuple[str, int]:
    """Return the name that a job is to hold, and for how many ms (0: until it is done)."""
    return ("", 0) if unique is None else (unique.name, milliseconds(unique.seconds or 0))


def batches(values: Sequence[_T]) -> list[Sequence[_T]]:
    """Cut ``values`` into parts of ``MAX_BATCH``."""
    return [values[i : i + MAX_BATCH] for i in range(0, len(values), MAX_BATCH)]


def packed(commands: Sequence[Command]) -> bytes:
    """Return ``commands`` as they go over the wire."""
    # hiredis' own stub says a tuple of one.
    return b"".join([pack_command(command) for command in commands])  # type: ignore[arg-type]
