"""How notices get to the receiver: in order, each until it has it, for an hour at most."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from http import HTTPStatus

import structlog

from queued.daemon.monitor.alerts.episodes import Notice, a_test
from queued.daemon.monitor.alerts.notice import body, headers
from queued.daemon.monitor.alerts.post import Answer, Poster, PostFailed
from queued.daemon.spec import WebhookSpec

log = structlog.get_logger()

MOST = 100
"""Notices that wait; of more, the oldest are dropped."""
FIRST_RETRY, LONGEST_RETRY = 1.0, 60.0
"""Seconds between tries; they double."""
LONGEST_WISH = 300.0
"""Seconds that a receiver may ask for with Retry-After."""
GIVE_UP_AFTER = 3_600.0
"""Seconds after which a notice is news no more."""
PASSING = frozenset(
    {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
)
"""Of the 4xx, those that say: later."""


class Webhook:
    """Posts notices, one after the other.

    :param outbox: what the monitor before has left.
    :param changed: called when a notice need not be kept any more.
    """

    def __init__(
        self, spec: WebhookSpec, outbox: Iterable[Notice], changed: Callable[[], None]
    ) -> None:
        self._spec = spec
        self._poster = Poster(spec.url, spec.timeout)
        self._host = socket.gethostname()
        self._changed = changed
        self._waiting = deque(outbox)
        self._filled = asyncio.Event()

    @property
    def outbox(self) -> list[Notice]:
        """What has not been delivered."""
        return list(self._waiting)

    def put(self, notice: Notice) -> None:
        """Post a notice as soon as may be; never waits."""
        if len(self._waiting) >= MOST:
            dropped = self._waiting[1]  # the first one is under way
            del self._waiting[1]
            log.error("webhook.dropped", alert=dropped.alert, subject=dropped.subject, kept=MOST)
        self._waiting.append(notice)
        self._filled.set()

    async def run(self) -> None:
        """Deliver for ever."""
        while True:
            while self._waiting:
                await self._deliver(self._waiting[0])
                self._waiting.popleft()
                self._changed()
            self._filled.clear()
            await self._filled.wait()

    async def _deliver(self, notice: Notice) -> None:
        """Try until the receiver has the notice, will not have it, or it is too late."""
        who = {"type": notice.type, "alert": notice.alert, "subject": notice.subject}
        age = min(max(0.0, time.time() - notice.at), GIVE_UP_AFTER)
        deadline = time.monotonic() + GIVE_UP_AFTER - age
        pause, tries = FIRST_RETRY, 0
        while True:
            tries += 1
            wish, error = 0.0, ""
            try:
                answer = await self._try(notice)
            except PostFailed as failed:
                error = str(failed)
            else:
                if answer.taken:
                    log.info("webhook.delivered", tries=tries, **who)
                    return
                error, wish = f"HTTP {answer.status}", _wish(answer)
                if not _is_passing(answer.status):
                    log.error("webhook.refused", error=error, **who)
                    return
            wait = max(pause * random.uniform(0.5, 1.0), wish)  # noqa: S311 - jitter, no secret
            if time.monotonic() + wait > deadline:
                log.error("webhook.given_up", error=error, tries=tries, **who)
                return
            if tries == 1:
                log.warning("webhook.failing", error=error, next="tried again for an hour", **who)
            await asyncio.sleep(wait)
            pause = min(2 * pause, LONGEST_RETRY)

    async def _try(self, notice: Notice) -> Answer:
        return await _post(self._poster, self._spec, notice, self._host)


async def post_test(spec: WebhookSpec) -> Answer:
    """Post a test message, once; return the answer, whatever it is.

    :raises PostFailed: there was none.
    """
    notice, host = a_test(time.time()), socket.gethostname()
    return await _post(Poster(spec.url, spec.timeout), spec, notice, host)


async def _post(poster: Poster, spec: WebhookSpec, notice: Notice, host: str) -> Answer:
    content = body(notice, spec.format, host)
    return await poster.post(content, headers(notice, content, spec.secret, time.time()))


def _is_passing(status: int) -> bool:
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in PASSING


def _wish(answer: Answer) -> float:
    """Return the seconds of Retry-After, where it has seconds."""
    text = (answer.retry_after or "").strip()
    return min(float(text), LONGEST_WISH) if text.isascii() and text.isdigit() else 0.0
