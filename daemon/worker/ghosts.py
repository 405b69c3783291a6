"""Hands back what this worker holds by the back-end's word alone: ghosts.

A server that lost power or failed over may have forgotten settlements that it had acknowledged. It
holds those jobs for a worker that is done with them, and whose lease is renewed for as long as it
lives: nobody else would ever run them again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from itertools import chain

import structlog

from queued.daemon.worker.backend import Backend
from queued.daemon.worker.exchange import Exchanger
from queued.daemon.worker.run import Run
from queued.drivers.base import MAX_BATCH, Lane, Release

log = structlog.get_logger()

LOOK_EVERY = 10.0
"""Seconds. A ghost is found at the second look."""


class Ghosts:
    """Compares, look by look, what the back-end says with what the worker knows.

    A job that it does not know may have been reserved by a call that is not answered yet, or have
    been settled while the answer to this very question was under way. So it is a ghost if it is
    unknown a second time, after the call that was to reserve the first time was answered.

    :param running: the runs that have not ended.
    :param cut: has a listen that is pending answered soon.
    """

    def __init__(
        self,
        backend: Backend,
        exchanger: Exchanger,
        running: Collection[Run],
        cut: Callable[[], None],
    ) -> None:
        self._backend = backend
        self._exchanger = exchanger
        self._running = running
        self._cut = cut
        self._suspects: set[tuple[str, int]] = set()
        self._answered_by = 0

    async def look(self) -> None:
        """Look once, and release the ghosts; they go to the head of the queue."""
        held = await self._backend.held()
        unknown = held.items() - self._known()
        if self._exchanger.answered < self._answered_by:
            return
        if unknown and self._exchanger.listening:
            self._cut()
        ghosts = unknown & self._suspects
        self._suspects, self._answered_by = unknown - ghosts, self._exchanger.nonce
        if ghosts:
            await self._release(ghosts)

    def _known(self) -> Iterable[tuple[str, int]]:
        runs = chain(self._running, self._exchanger.outbox, self._exchanger.sent)
        return {(run.reservation.id, run.reservation.fence) for run in runs}

    async def _release(self, ghosts: Iterable[tuple[str, int]]) -> None:
        releases = [Release(job_id, fence) for job_id, fence in ghosts][:MAX_BATCH]
        log.warning("settlements.forgotten", jobs=[one.id for one in releases])
        await self._backend.exchange(releases, want=0, nonce=0, lane=Lane.NORMAL)
