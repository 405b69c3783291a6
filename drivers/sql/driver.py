"""``SqlDriver``: each verb of the protocol is one function of a transaction."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

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
from queued.drivers.sequel import Batch, NewBatch
from queued.drivers.sql import (
    batches,
    enqueue,
    exchange,
    failures,
    operators,
    outbox,
    owners,
    pauses,
    promote,
    restore,
    ticks,
)
from queued.drivers.sql.database import Database
from queued.drivers.sql.joined import join
from queued.drivers.sql.sqlite import SqliteDatabase
from queued.errors import ConfigError, DriverUnavailable, OwnerLost


class SqlDriver:
    """The driver for SQL databases; ``Driver`` in drivers/base.py is the contract.

    ``url``: ``sqlite:///relative.db`` or ``sqlite:////absolute.db``, where the file, its folder and
    its tables are created at first use; or ``postgresql://user:password@host/database``, where the
    tables are.

    :raises ConfigError: the URL names no file, or a database that is not supported; or psycopg is
        not installed.
    """

    name = "database"
    joined = staticmethod(join)

    def __init__(self, url: str) -> None:
        self._database = _database(url)

    async def open(self) -> None:
        await self._database.open()

    async def close(self) -> None:
        await self._database.close()

    async def ping(self) -> None:
        await self._database.write(operators.probe)

    # producers
    async def enqueue(self, queue: str, jobs: Sequence[NewJob]) -> list[Enqueued]:
        try:
            return await self._database.write(enqueue.enqueue, queue, jobs)
        except DriverUnavailable as error:
            raise DriverUnavailable(str(error), [job.id for job in jobs]) from error

    async def enqueue_batch(self, queue: str, batch: NewBatch) -> bool:
        try:
            created = await self._database.write(batches.create, queue, batch)
        except DriverUnavailable as error:
            ids = [parcel.job.id for parcel in batch.members]
            raise DriverUnavailable(str(error), ids) from error
        await self._forward_now(queue)
        return created

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
        wanted = exchange.Wanted(want, nonce, lease, lane, limit)
        answer = await self._database.write(exchange.exchange, queue, owner, settlements, wanted)
        if answer is None:
            raise OwnerLost(f"{owner} was retired: its jobs went to other workers")
        return answer

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
        await self._database.wait(queue, seconds)
        return await self.exchange(
            queue, owner, want=want, nonce=nonce, lease=lease, lane=lane, limit=limit
        )

    async def renew(self, queue: str, owners_: Sequence[str], lease: float) -> list[str]:
        return await self._database.write(owners.renew, queue, owners_, lease)

    async def held(self, queue: str, owner: str) -> dict[str, int]:
        return await self._database.read(owners.held, queue, owner)

    # janitors
    async def retire(
        self, queue: str, owner: str, *, only_expired: bool = False
    ) -> list[Reservation]:
        return await self._database.write(owners.retire, queue, owner, only_expired=only_expired)

    async def owners(self, queue: str) -> dict[str, float]:
        return await self._database.read(owners.list_owners, queue)

    async def promote(self, queue: str, limit: int = MAX_BATCH) -> int:
        return await self._database.write(promote.promote_due, queue, limit)

    async def forward(self, queue: str) -> int:
        moved, sources = 0, [queue]
        refused: DriverUnavailable | None = None
        while sources:
            source = sources.pop()
            for target in await self._database.read(outbox.targets, source):
                try:
                    moved += await self._deliver(target, source)
                except DriverUnavailable as error:  # it may be locked, and others not
                    refused = error
                else:
                    sources.append(target)
        if refused is not None:
            raise refused
        return moved

    async def _deliver(self, target: str, source: str) -> int:
        moved = 0
        while count := await self._database.write(outbox.deliver, target, source, MAX_BATCH):
            moved += count
        return moved

    async def _forward_now(self, queue: str) -> None:
        """Forward what a verb has just put into the outbox; if it cannot be, a janitor will."""
        with contextlib.suppress(DriverUnavailable):
            await self.forward(queue)

    # schedules
    async def ticks(self, queue: str) -> Ticks:
        return await self._database.read(ticks.list_ticks, queue)

    async def tick(
        self, queue: str, schedule: str, last: int | None, tick: int, job: NewJob | None
    ) -> bool:
        return await self._database.write(ticks.tick, queue, schedule, last, tick, job)

    # failed() hooks
    async def claim_hooks(self, queue: str, limit: int, visible_after: float) -> list[FailedJob]:
        return await self._database.write(failures.claim_hooks, queue, limit, visible_after)

    async def finish_hook(self, queue: str, job_id: str, record: bytes = b"") -> None:
        await self._database.write(failures.finish_hook, queue, job_id, record)

    # operators
    async def queues(self) -> list[str]:
        return await self._database.read(operators.list_queues)

    async def stats(self, queues: Sequence[str]) -> Mapping[str, QueueStats]:
        return await self._database.read(operators.stats, queues)

    async def find(self, job_id: str, queue: str | None = None) -> JobInfo | None:
        return await self._database.read(operators.find, job_id, queue)

    async def batch(self, batch_id: str, queue: str | None = None) -> Batch | None:
        return await self._database.read(batches.find, batch_id, queue)

    async def ahead(self, queue: str, job_id: str, limit: int = LOOK_AHEAD) -> int | None:
        return await self._database.read(operators.ahead, queue, job_id, limit)

    async def cancel(self, queue: str, job_id: str) -> State | None:
        found = await self._database.write(operators.cancel, queue, job_id)
        await self._forward_now(queue)
        return found

    async def purge(self, queue: str) -> int:
        """Purge in batches, so that others come to write in between; what comes later may stay."""
        waiting = (await self.stats([queue]))[queue].size
        purged, limit = 0, MAX_BATCH
        while True:
            count = await self._database.write(operators.purge, queue, limit)
            purged += count
            if count < limit or purged >= waiting:
                break
            limit = min(MAX_BATCH, waiting - purged)  # what follows those that went stays
        await self._forward_now(queue)
        return purged

    async def pause(self, queue: str, by: str = "", reason: str = "") -> bool:
        return await self._database.write(pauses.pause, queue, by, reason)

    async def resume(self, queue: str) -> bool:
        return await self._database.write(pauses.resume, queue)

    async def failed(self, queue: str, limit: int = 50, offset: int = 0) -> list[FailedJob]:
        return await self._database.read(failures.list_failed, queue, limit, offset)

    async def requeue(self, queue: str, job_ids: Sequence[str]) -> list[bool]:
        return await self._database.write(failures.requeue, queue, job_ids)

    async def prune(self, queue: str, older_than: float, limit: int = MAX_BATCH) -> int:
        removed = await self._database.write(failures.prune, queue, older_than, limit)
        if removed:
            await self._forward_now(queue)
        return removed

    async def forget(self, queue: str, job_ids: Sequence[str]) -> list[bool]:
        forgotten = await self._database.write(failures.forget, queue, job_ids)
        await self._forward_now(queue)
        return forgotten

    async def restore(self, queue: str, failed: Sequence[FailedJob]) -> list[bool]:
        return await self._database.write(restore.restore, queue, failed)


def _database(url: str) -> Database:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigError(
            ["the connection is no database URL; one looks like sqlite:///queued.db"]
        ) from None
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        return _postgresql(url)
    if backend != "sqlite":
        raise ConfigError(
            [f"{backend}:// is not supported; use sqlite:///, postgresql:// or redis://"]
        )
    return SqliteDatabase(_path(parsed))


def _postgresql(url: str) -> Database:
    try:
        from queued.drivers.sql.postgresql import PostgresqlDatabase  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigError(
            [f"connection: postgresql:// needs psycopg: pip install 'queued[postgres]' ({error})"]
        ) from error
    return PostgresqlDatabase(url)


def _path(url: URL) -> Path:
    if url.host or url.query:
        raise ConfigError(
            [
                "an SQLite URL has three slashes and a path: sqlite:///queued.db, sqlite:////srv/queued.db"
            ]
        )
    if not url.database or url.database == ":memory:":
        raise ConfigError(
            ["a database in memory is seen by one process only; name a file: sqlite:///queued.db"]
        )
    return Path(url.database).absolute()
