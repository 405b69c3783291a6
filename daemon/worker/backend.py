"""The back-end as one worker sees it: its queue, its owner's name, and every call watched."""

from __future__ import annotations

from collections.abc import Sequence

from queued.daemon.reach import Reach
from queued.drivers.base import Driver, Exchange, FailedJob, Lane, RateLimit, Settlement


class Backend:
    """The calls of the ``Driver`` that a worker makes, for its queue and in its name.

    :param lease: seconds that the owner lives without being renewed.
    :param limit: the queue's rate limit, if it has one.
    """

    def __init__(
        self,
        driver: Driver,
        queue: str,
        owner: str,
        lease: float,
        reach: Reach,
        *,
        limit: RateLimit | None = None,
    ) -> None:
        self.driver = driver
        self._queue = queue
        self._owner = owner
        self._lease = lease
        self._reach = reach
        self._limit = limit

    async def open(self) -> None:
        with self._reach.watch("open"):
            await self.driver.open()

    async def exchange(
        self, settlements: Sequence[Settlement], *, want: int, nonce: int, lane: Lane
    ) -> Exchange:
        with self._reach.watch("exchange"):
            return await self.driver.exchange(
                self._queue,
                self._owner,
                settlements,
                want=want,
                nonce=nonce,
                lease=self._lease,
                lane=lane,
                limit=self._limit,
            )

    async def listen(self, seconds: float, *, want: int, nonce: int, lane: Lane) -> Exchange:
        """Not watched: it takes as long as nobody pushes, and the call after a failure tells."""
        return await self.driver.listen(
            self._queue,
            self._owner,
            seconds=seconds,
            want=want,
            nonce=nonce,
            lease=self._lease,
            lane=lane,
            limit=self._limit,
        )

    async def renew(self) -> bool:
        """Renew the owner's lease; False: it is retired."""
        with self._reach.watch("renew"):
            return not await self.driver.renew(self._queue, [self._owner], self._lease)

    async def held(self) -> dict[str, int]:
        """Return what the back-end says that this worker holds: ids and fences."""
        with self._reach.watch("held"):
            return await self.driver.held(self._queue, self._owner)

    async def forward(self) -> None:
        """Move what is in the queue's outbox to the queues it is for."""
        with self._reach.watch("forward"):
            await self.driver.forward(self._queue)

    async def claim_hook(self, visible_after: float) -> FailedJob | None:
        with self._reach.watch("claim_hooks"):
            claimed = await self.driver.claim_hooks(self._queue, 1, visible_after)
        return claimed[0] if claimed else None

    async def finish_hook(self, job_id: str, record: bytes) -> None:
        with self._reach.watch("finish_hook"):
            await self.driver.finish_hook(self._queue, job_id, record)
