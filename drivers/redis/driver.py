"""``RedisDriver``: every verb is one script, and an exchange is one pipeline of them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from redis.exceptions import NoScriptError

from queued.drivers.base import (
    LOOK_AHEAD,
    MAX_BATCH,
    Enqueued,
    Exchange,
    FailedJob,
    JobInfo,
    Lane,
    NewJob,
    QueueStats,
    RateLimit,
    Reservation,
    Settlement,
    State,
    Ticks,
)
from queued.drivers.redis.address import ClusterAddress, address_of
from queued.drivers.redis.blocking import BlockingRedis
from queued.drivers.redis.calls import Calls
from queued.drivers.redis.codec import (
    batch_of,
    failed_job,
    fences,
    job_info,
    milliseconds,
    newly_enqueued,
    pack_id,
    reservations,
    stats_of,
    unpack_id,
)
from queued.drivers.redis.commands import Command, Commands, Value, batches
from queued.drivers.redis.links import links_to
from queued.drivers.redis.outbox import Outbox
from queued.drivers.redis.versions import check_version
from queued.drivers.sequel import MAX_FAILED_IDS, Batch, NewBatch
from queued.errors import DriverError, DriverUnavailable, OwnerLost

_SHORTEST_WAIT = 0.01  # BLPOP takes 0 for no bound at all
_NOTHING, _PAUSED = -1, -2  # in place of the ms until there is a token: reserve.lua
_LONGEST_WAIT = 60.0  # a connection that died unseen is found out after that


class RedisDriver:
    """The driver for Redis and Valkey; ``Driver`` in drivers/base.py is the contract.

    ``url``: redis://, rediss:// or unix://, with redis-py's options in its query; ``?prefix=`` is
    what all keys start with, ``queued`` unless given. Its user needs no more than the ACL
    ``~queued:* +@read +@write +@scripting +@connection +time``. With redis+sentinel:// the hosts
    are those of sentinels, ``/service`` follows them, and ``sentinel_username`` and
    ``sentinel_password`` in the query are for them; with redis+cluster:// they are those of some
    nodes, and the ACL has ``+cluster|slots`` besides.

    :raises ConfigError: the URL has an option that is unknown or wrong.
    """

    name = "redis"
    blocking = BlockingRedis

    def __init__(self, url: str) -> None:
        address = address_of(url)
        self._address = str(address)
        self._commands = Commands(address.prefix, whole=isinstance(address, ClusterAddress))
        self._main, self._waiter = links_to(address)
        self._calls = Calls(self._main, self._address)
        self._run = self._calls.run
        self._outbox = Outbox(self._commands, self._run)

    async def open(self) -> None:
        self._main.reopen()
        self._waiter.reopen()
        [hello] = await self._run([("HELLO",)])
        check_version(hello, self._address)
        await self._calls.load_scripts()

    async def close(self) -> None:
        await self._waiter.close()
        await self._main.close()

    async def ping(self) -> None:
        # A write that is refused where writes are, but not when memory is full: jobs go on then.
        # Of a cluster one node answers for all.
        await self._run([("DEL", self._commands.key("ping"))])

    # producers

    async def enqueue(self, queue: str, jobs: Sequence[NewJob]) -> list[Enqueued]:
        if not jobs:
            return []
        try:
            *_, refused = await self._run(self._commands.enqueue(queue, jobs))
        except DriverUnavailable as error:
            raise DriverUnavailable(str(error), [job.id for job in jobs]) from error
        return newly_enqueued(len(jobs), refused)

    async def enqueue_batch(self, queue: str, batch: NewBatch) -> bool:
        try:
            *_, created = await self._run(self._commands.enqueue_batch(queue, batch))
        except DriverUnavailable as error:
            ids = [parcel.job.id for parcel in batch.members]
            raise DriverUnavailable(str(error), ids) from error
        await self._forward_now(queue)
        return bool(created)

    # workers

    async def exchange(
        self,
        queue: str,
        owner: str,
        settlements: Sequence[Settlement] = (),
        *,
        want: int = 0,
        nonce: int = 0,
        lease: float = 30.0,
        lane: Lane = Lane.NORMAL,
        limit: RateLimit | None = None,
    ) -> Exchange:
        commands = self._commands.settle(queue, owner, settlements)
        commands.append(
            self._commands.reserve(
                queue, owner, want=want, nonce=nonce, lease=lease, lane=lane, limit=limit
            )
        )
        *settled, reserved = await self._run(commands)
        lost = [unpack_id(raw) for raw in chain.from_iterable(settled)]
        return _exchange(queue, owner, reserved, lost)

    async def listen(
        self,
        queue: str,
        owner: str,
        *,
        seconds: float,
        want: int,
        nonce: int,
        lease: float = 30.0,
        lane: Lane = Lane.NORMAL,
        limit: RateLimit | None = None,
    ) -> Exchange:
        # The server keeps what follows on the connection of a client that it blocks, and runs it as
        # soon as a push (or the time) has woken that: one wake-up here, with the jobs in it.
        seconds = min(max(seconds, _SHORTEST_WAIT), _LONGEST_WAIT)
        wait: Command = ("BLPOP", self._commands.key("wake", queue), f"{seconds:.3f}")
        reserve = self._commands.reserve(
            queue, owner, want=want, nonce=nonce, lease=lease, lane=lane, limit=limit
        )
        replies = await self._waiter.send([wait, reserve], blocking=seconds)
        if isinstance(replies[1], NoScriptError):  # as in _run
            return await self.exchange(
                queue, owner, want=want, nonce=nonce, lease=lease, lane=lane, limit=limit
            )
        return _exchange(queue, owner, self._calls.checked(replies)[1], [])

    async def renew(self, queue: str, owners: Sequence[str], lease: float) -> list[str]:
        head = milliseconds(lease)
        replies = await self._run(
            [self._commands.verb("renew", queue, head, *batch) for batch in batches(owners)]
        )
        return [owner.decode() for owner in chain.from_iterable(replies)]

    async def held(self, queue: str, owner: str) -> dict[str, int]:
        [flat] = await self._run([("HGETALL", self._commands.key(f"held:{owner}", queue))])
        return fences(flat)

    # janitors

    async def retire(
        self, queue: str, owner: str, *, only_expired: bool = False
    ) -> list[Reservation]:
        return list(reservations(await self._call("retire", queue, owner, int(only_expired))))

    async def owners(self, queue: str) -> dict[str, float]:
        values = iter(await self._call("owners", queue))
        return {owner.decode(): left / 1000 for owner, left in zip(values, values, strict=True)}

    async def promote(self, queue: str, limit: int = MAX_BATCH) -> int:
        count: int = await self._call("promote", queue, min(limit, MAX_BATCH))
        return count

    async def forward(self, queue: str) -> int:
        return await self._outbox.forward(queue)

    async def _forward_now(self, queue: str) -> None:
        """Forward what a verb has just put into the outbox; if it cannot be, a janitor will."""
        with contextlib.suppress(DriverError):
            await self._outbox.forward(queue)

    # schedules

    async def ticks(self, queue: str) -> Ticks:
        now, pairs = await self._call("ticks", queue)
        names = (name.decode() for name in pairs[::2])
        return Ticks(now / 1000, dict(zip(names, map(int, pairs[1::2]), strict=True)))

    async def tick(
        self, queue: str, schedule: str, last: int | None, tick: int, job: NewJob | None
    ) -> bool:
        values: tuple[Value, ...] = (schedule, "" if last is None else last, tick)
        if job is not None:
            values += (pack_id(job.id), job.payload)
        name = self._commands.name(queue)
        *_, taken = await self._run([name, self._commands.verb("tick", queue, *values)])
        return bool(taken)

    # failed() hooks

    async def claim_hooks(self, queue: str, limit: int, visible_after: float) -> list[FailedJob]:
        answer = await self._call("claim_hooks", queue, limit, milliseconds(visible_after))
        return [failed_job(queue, values) for values in answer]

    async def finish_hook(self, queue: str, job_id: str, record: bytes = b"") -> None:
        await self._call("finish_hook", queue, pack_id(job_id), record)

    # operators

    async def queues(self) -> list[str]:
        [names] = await self._run([("SMEMBERS", self._commands.key("queues"))])
        return sorted(name.decode() for name in names)

    async def stats(self, queues: Sequence[str]) -> Mapping[str, QueueStats]:
        replies = await self._calls.tried([self._commands.verb("stats", queue) for queue in queues])
        away = [reply for reply in replies if isinstance(reply, DriverUnavailable)]
        if away and len(away) == len(replies):
            raise away[0]
        return {
            queue: stats_of(reply)
            for queue, reply in zip(queues, replies, strict=True)
            if not isinstance(reply, DriverUnavailable)
        }

    async def find(self, job_id: str, queue: str | None = None) -> JobInfo | None:
        queues = [queue] if queue is not None else await self.queues()
        raw = pack_id(job_id)
        replies = await self._calls.tried(
            [self._commands.verb("find", name, raw) for name in queues]
        )
        name, values = self._calls.first(queues, replies)
        return job_info(job_id, name, values) if values else None

    async def batch(self, batch_id: str, queue: str | None = None) -> Batch | None:
        queues = [queue] if queue is not None else await self.queues()
        values = (batch_id, MAX_FAILED_IDS)
        batch = [self._commands.verb("batch", name, *values) for name in queues]
        name, reply = self._calls.first(queues, await self._calls.tried(batch))
        return batch_of(batch_id, name, reply) if reply else None

    async def ahead(self, queue: str, job_id: str, limit: int = LOOK_AHEAD) -> int | None:
        place: int | None = await self._call("ahead", queue, pack_id(job_id), limit)
        return place

    async def cancel(self, queue: str, job_id: str) -> State | None:
        found = await self._call("cancel", queue, pack_id(job_id))
        await self._forward_now(queue)
        return State(found.decode()) if found else None

    async def purge(self, queue: str) -> int:
        waiting = (await self.stats([queue]))[queue].size  # what is pushed meanwhile may stay
        purged = 0
        while purged < waiting:
            step = await self._call("purge", queue, min(waiting - purged, MAX_BATCH))
            if not step:
                break
            purged += step
        await self._forward_now(queue)
        return purged

    async def pause(self, queue: str, by: str = "", reason: str = "") -> bool:
        return bool(await self._call("pause", queue, by, reason))

    async def resume(self, queue: str) -> bool:
        return bool(await self._call("resume", queue))

    async def failed(self, queue: str, limit: int = 50, offset: int = 0) -> list[FailedJob]:
        answer = await self._call("failed", queue, limit, offset)
        return [failed_job(queue, values) for values in answer]

    async def requeue(self, queue: str, job_ids: Sequence[str]) -> list[bool]:
        return await self._for_ids("requeue", queue, job_ids)

    async def prune(self, queue: str, older_than: float, limit: int = MAX_BATCH) -> int:
        micros = round(older_than * 1_000_000)
        removed: int = await self._call("prune", queue, micros, min(limit, MAX_BATCH))
        if removed:
            await self._forward_now(queue)
        return removed

    async def forget(self, queue: str, job_ids: Sequence[str]) -> list[bool]:
        forgotten = await self._for_ids("forget", queue, job_ids)
        await self._forward_now(queue)
        return forgotten

    async def restore(self, queue: str, failed: Sequence[FailedJob]) -> list[bool]:
        if not failed:
            return []
        *_, stored = await self._run(self._commands.restore(queue, failed))
        return [one == 1 for one in stored]

    async def _for_ids(self, verb: str, queue: str, job_ids: Sequence[str]) -> list[bool]:
        ids = batches([pack_id(job_id) for job_id in job_ids])
        replies = await self._run([self._commands.verb(verb, queue, *batch) for batch in ids])
        return [done == 1 for done in chain.from_iterable(replies)]

    # commands

    async def _call(self, verb: str, queue: str, *values: Value) -> Any:
        [reply] = await self._run([self._commands.verb(verb, queue, *values)])
        return reply


def _exchange(queue: str, owner: str, reserved: Any, lost: list[str]) -> Exchange:
    """Return what reserve.lua answers.

    :raises OwnerLost: the owner is retired.
    """
    if reserved == b"retired":
        raise OwnerLost(f"{owner} was retired from queue {queue}: it may not reserve any more")
    due, hooks, suspects, outbox, held, *jobs = reserved
    next_due = due / 1000 if due >= 0 else None
    held_for = None if held == _NOTHING else math.inf if held == _PAUSED else held / 1000
    found = list(reservations(jobs))
    return Exchange(found, lost, next_due, hooks > 0, suspects == 1, outbox > 0, held_for)
