"""The calls by which jobs come and settlements go: ``Driver.exchange`` and ``Driver.listen``.

Settlements are kept until the back-end has acknowledged them. A call whose answer was lost is
repeated as it was, nonce and all, so that the batch it may have reserved comes back; what ends
meanwhile waits for the next one. A listen that was cut short is such a call too.
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
from queued.errors import DriverError, DriverUnavailable, OwnerLost

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
    """What came back, for what, and the runs that were settled with it."""

    exchange: Exchange
    want: int
    """How many jobs were asked for; 0: it only settled."""
    lane: Lane
    settled: list[Run]
    lost: frozenset[str]
    """Ids of those that were not ours any more, or whose settlement was stored by a call before."""


class Exchanger:
    """The calls of one worker, of which one at a time may reserve.

    :param pause: waits for that many seconds, while the back-end is away.
    :param ending: whether this worker is about to end.
    """

    def __init__(
        self,
        backend: Backend,
        meters: WorkerMeters,
        pause: Callable[[float], Awaitable[None]],
        ending: Callable[[], bool],
    ) -> None:
        self.outbox: list[Run] = []
        """Runs that have ended and wait to be settled,"""
        self.sent: list[Run] = []
        """and those whose settlements are on their way."""
        self.nonce = 0
        """Of the last call that was to reserve,"""
        self.answered = 0
        """and of the last one that was answered."""
        self.listening = False
        """The last one is a listen that is under way: exchanges settle only."""
        self._lane = Lane.NORMAL
        self._backend = backend
        self._meters = meters
        self._pause = pause
        self._ending = ending

    @property
    def unanswered(self) -> bool:
        """Whether jobs may have been reserved that this worker has not heard of."""
        return self.answered < self.nonce

    @property
    def to_do(self) -> bool:
        """Whether there is reason for an exchange, wanted or not."""
        return bool(self.outbox) or (self.unanswered and not self.listening)

    async def listen(self, seconds: float, want: int, lane: Lane) -> Answer:
        """Wait for a push, at most ``seconds``, and reserve up to ``want`` jobs.

        Ended in any other way than by an answer, what it has reserved comes with the next exchange.
        If this process ends meanwhile, its connection does, and nothing is reserved; what just was
        is reclaimed with all that it holds. If the owner is retired before, it gets nothing.

        :raises DriverUnavailable: unlike an exchange, it is not repeated here.
        :raises OwnerLost: this owner is retired.
        """
        nonce = self._begin(lane)
        answer = await self._backend.listen(seconds, want=want, nonce=nonce, lane=lane)
        self.answered = nonce
        return Answer(answer, want, lane, [], frozenset())

    async def exchange(self, want: int, lane: Lane) -> Answer:
        """Settle all that has ended and reserve up to ``want`` jobs, however long it takes.

        First of all it asks again for what the last call may have reserved unheard, and then it
        wants one job at least: there is no asking without reserving. What it does not get because
        it is about to end and the back-end is away, is reclaimed.

        :raises OwnerLost: this owner is retired.
        """
        sent = self.sent = self.outbox
        self.outbox = []
        settlements = [run.settlement for run in sent if run.settlement is not None]
        nonce = 0
        if self.unanswered and not self.listening:
            nonce, lane, want = self.nonce, self._lane, max(want, 1)
        elif want:
            nonce = self._begin(lane)
        pauses = retry_pauses()
        repeated, refusal = False, ""
        while True:
            try:
                answer = await self._backend.exchange(
                    settlements, want=want, nonce=nonce, lane=lane
                )
            except OwnerLost:
                self._count_lost(sent, repeated=repeated)
                raise
            except DriverError as error:
                # One that it answers with is no fault of the jobs that run here: were this worker
                # to die of it, they would be charged.
                if not isinstance(error, DriverUnavailable) and str(error) != refusal:
                    refusal = str(error)
                    log.error("exchange.refused", error=refusal)  # noqa: TRY400 - as elsewhere
                repeated = True
                if not sent and self._ending():
                    answer = Exchange([], [])
                    break
                await self._pause(pauses())
            else:
                break
        self.sent = []
        self.answered = max(self.answered, nonce)
        ids = frozenset(answer.lost)
        if ids:
            lost = [run for run in sent if run.reservation.id in ids]
            self._count_lost(lost, repeated=repeated)
        return Answer(answer, want, lane, sent, ids)

    def _begin(self, lane: Lane) -> int:
        self.nonce += 1
        self._lane = lane
        return self.nonce

    def _count_lost(self, lost: list[Run], *, repeated: bool) -> None:
        if repeated:  # it may be an echo: heard the first time, and only not answered
            return
        self._meters.stale_acks.value += len(lost)
        for run in lost:
            log.warning(
                "settlement.lost",
                **run.names(),
                fence=run.reservation.fence,
                settlement=type(run.settlement).__name__.lower(),
            )
