"""The alarm of one monitor: looks each second, says what begins and ends, and remembers it."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from queued.daemon.monitor.alerts.episodes import RESOLVED, Episodes, EpisodesFile, Notice
from queued.daemon.monitor.alerts.readings import Alert, Readings
from queued.daemon.monitor.alerts.webhook import Webhook
from queued.daemon.monitor.collector import Sample
from queued.daemon.spec import MonitorSpec

log = structlog.get_logger()

LOOK_EVERY = 1.0
_SERIOUS = frozenset({Alert.POOL_FATAL, Alert.BACKEND_UNREACHABLE})
"""No job of theirs runs."""


class Alarm:
    """Watches, logs and posts.

    :param sample: returns the queues as last seen.
    """

    def __init__(self, spec: MonitorSpec, readings: Readings, sample: Callable[[], Sample]) -> None:
        self._readings = readings
        self._sample = sample
        self._file = EpisodesFile(spec.episodes)
        self._episodes = Episodes(spec.steadiness)
        opened, outbox = self._file.load()
        self._episodes.go_on(opened)
        self.webhook = Webhook(spec.webhook, outbox, self._save) if spec.webhook else None

    async def look(self) -> None:
        """Read everything once, and say what has begun or ended."""
        readings = self._readings.take(self._sample())
        notices = self._episodes.look(readings, now=time.monotonic(), at=time.time())
        if not notices:
            return
        for notice in notices:
            _log(notice)
            if self.webhook is not None:
                self.webhook.put(notice)
        self._save()  # before any of it can be delivered: nothing is said twice under two ids

    def _save(self) -> None:
        self._file.save(self._episodes.open, self.webhook.outbox if self.webhook else ())


def _log(notice: Notice) -> None:
    fields = {
        "alert": notice.alert,
        "subject": notice.subject,
        "message": notice.message,
        "value": notice.value,
        "threshold": notice.threshold,
    }
    if notice.type == RESOLVED:
        log.info("alert.resolved", **fields)
    elif notice.alert in _SERIOUS:
        log.error("alert.opened", **fields)
    else:
        log.warning("alert.opened", **fields)
