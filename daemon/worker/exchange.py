"""The worker's end of ``Driver.exchange``: what ended goes out, new jobs come in, one at a time.

Settlements are kept until the back-end has acknowledged them. A call whose answer was lost is
repeated as it was, nonce and all, so that the batch it may have reserved comes back; what ends
meanwhile waits for the next one.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import structlog

from queued.daemon.worker.backend import Backend
from queued.daemon.worker.meters import WorkerMeters
from queued.daemon.worker.run import Run
from queued.drivers.base import Exchange, Lane
from queued.errors import DriverUnavailable, OwnerLost

log = structlog.get_logger()

FIRST_RETRY = 0.1
MAX_RETRY = 1.0
"""Seconds between tries while the back-end is away. Work that waits for its return waits for the
first worker to find out; and hundreds of workers ask a server that starts hundreds of times a
second, which it does not feel."""


def retry_pauses(random: Callable[[float, float], float] = random.uniform) -> Callable[[], float]:
    """Return a function that gives the next pause in seconds: growing, at random, at most 1 s."""
    longest = FIRST_RETRY

    def pause() -> float:
        nonlocal longest
        seconds = random(longest / 2, longest)
        longest = min(2 * longest, MAX_RETRY)
        return seconds

    return pause


class Answer(NamedTuple):
    """What came back, and the runs that were settled with it."""

    exchange: Exchange
    settled: list[Run]
    lost: frozenset[str]
    """Ids of those that were not ours any more, or whose settlement was stored by a call before."""


class Exchanger:
    """The exchanges of one worker.

    :param pause: waits for that many seconds, while the back-end is away.
    """

    def __init__(
        self, backend: Backend, meters: WorkerMeters, pause: Callable[[float], Awaitable[None]]
    ) -> None:
        self.outbox: list[Run] = []
        """Runs that have ended and wait to be settled,"""
        self.sent: list[Run] = []
        """and those whose settlements are on their way."""
        self.answered = 0
        """The nonce of the last exchange that was answered."""
        self.nonce = 0
        """Of the last one that was begun."""
        self._backend = backend
        self._meters = meters
        self._pause = pause

    async def exchange(self, want: int, lane: Lane) -> Answer:
        """Settle all that has ended and reserve up to ``want`` jobs, however long it takes.

        :raises OwnerLost: this owner is retired.
        """
        sent = self.sent = self.outbox
        self.outbox = []
        settlements = [run.settlement for run in sent if run.settlement is not None]
        self.nonce += 1
        pauses = retry_pauses()
        repeated = False
        while True:
            try:
                answer = await self._backend.exchange(
                    settlements, want=want, nonce=self.nonce, lane=lane
                )
            except DriverUnavailable:
                repeated = True
                await self._pause(pauses())
            except OwnerLost:
                self._count_lost(sent, repeated=repeated)
                raise
            else:
                self.sent, self.answered = [], self.nonce
                ids = frozenset(answer.lost)
                if ids:
                    lost = [run for run in sent if run.reservation.id in ids]
                    self._count_lost(lost, repeated=repeated)
                return Answer(answer, sent, ids)

    def _count_lost(self, lost: list[Run], *, repeated: bool) -> None:
        if repeated:  # it may be an echo: heard the first time, and only not answered
            return
        self._meters.stale_acks.value += len(lost)
        for run in lost:
            log.warning(
                "settlement.lost",
                job_id=run.reservation.id,
                fence=run.reservation.fence,
                settlement=type(run.settlement).__name__.lower(),
            )
