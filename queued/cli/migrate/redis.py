"""RouteMQ's Redis queue, as its ``RedisQueue`` lays it out.

    routemq:queue:NAME            list: waiting jobs, the oldest first
    routemq:queue:NAME:delayed    sorted set: delayed jobs by the time at which they are due
    routemq:queue:NAME:reserved   list: jobs that a worker has taken
    routemq:queue:failed:NAME     list: failed jobs, where RouteMQ had no database
    routemq:queue:workers:ID      hash: the heartbeat of a worker

An entry is JSON: ``id``, ``payload``, ``attempts``; a failed one ``payload``, ``exception``,
``failed_at``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import redis
from redis.exceptions import RedisError

from queued.cli.migrate.entry import Entry, Where, seconds_of
from queued.environment import redact
from queued.errors import ConfigError, DriverUnavailable

PREFIX = "routemq:queue:"
FAILED, WORKERS = f"{PREFIX}failed:", f"{PREFIX}workers:"
TIMEOUT = 15.0


class Place(NamedTuple):
    """A key that holds jobs."""

    where: Where
    queue: str
    key: str
    delayed: bool


class RedisSource:
    """The jobs in one Redis database.

    :raises ConfigError: the URL is none of redis-py's.
    """

    def __init__(self, url: str) -> None:
        self._url = redact(url)
        try:
            self._redis: Any = redis.Redis.from_url(
                url, decode_responses=False, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT
            )
        except ValueError as error:
            raise ConfigError([f"--from: {error}"]) from None

    def close(self) -> None:
        self._redis.close()

    def workers(self) -> list[str]:
        """Return the workers of RouteMQ that have lately said that they live."""
        with self._watched():
            keys = sorted(self._redis.scan_iter(f"{WORKERS}*", count=1_000))
            states = [self._redis.hget(key, "state") for key in keys]
        return [
            _text(key).removeprefix(WORKERS)
            for key, state in zip(keys, states, strict=True)
            if state not in {b"dead", b"stopped"}
        ]

    def places(self) -> list[Place]:
        """Return where jobs are, in the order in which they are moved."""
        with self._watched():
            keys = sorted({_text(key) for key in self._redis.scan_iter(f"{PREFIX}*", count=1_000)})
            found = [place for key in keys if (place := self._place(key))]
        order = list(Where)
        return sorted(found, key=lambda place: (order.index(place.where), place.queue))

    def _place(self, key: str) -> Place | None:
        kind = self._redis.type(key)
        name = key.removeprefix(PREFIX)
        if kind == b"zset" and name.endswith(":delayed"):
            return Place(Where.DELAYED, name.removesuffix(":delayed"), key, delayed=True)
        if kind != b"list":
            return None
        if key.startswith(FAILED):
            return Place(Where.FAILED, key.removeprefix(FAILED), key, delayed=False)
        if name.endswith(":reserved"):
            return Place(Where.RESERVED, name.removesuffix(":reserved"), key, delayed=False)
        return Place(Where.WAITING, name, key, delayed=False)

    def entries(self, place: Place, skip: int, count: int) -> list[Entry]:
        """Return up to ``count`` jobs of a place, behind the first ``skip``."""
        last = skip + count - 1
        with self._watched():
            if place.delayed:
                rows = self._redis.zrange(place.key, skip, last, withscores=True)
            else:
                rows = [(raw, None) for raw in self._redis.lrange(place.key, skip, last)]
        return [_entry(place, raw, due) for raw, due in rows]

    def remove(self, place: Place, entries: Sequence[Entry]) -> None:
        """Remove jobs in one step. What is not there any more is no error."""
        with self._watched(), self._redis.pipeline(transaction=True) as pipeline:
            for entry in entries:
                if place.delayed:
                    pipeline.zrem(place.key, entry.source)
                else:
                    pipeline.lrem(place.key, 1, entry.source)
            pipeline.execute()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except RedisError as error:
            raise DriverUnavailable(f"--from {self._url}: {error}") from error


def _entry(place: Place, raw: bytes, due: float | None) -> Entry:
    try:
        values = json.loads(raw)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        values = {}
    stored = values.get("payload")
    payload = stored if isinstance(stored, str) else ""
    if place.where is Where.FAILED:
        identity = f"failed\n{place.queue}\n{_text(raw)}"
    else:
        # Not the whole entry: RouteMQ counts attempts in it. A job that two of its pollers made due
        # at once is in two places under one id, and is one job.
        identity = f"job\n{place.queue}\n{values.get('id')}\n{payload}"
    return Entry(
        place.where,
        place.queue,
        raw,
        identity,
        payload,
        due,
        exception=str(values.get("exception", "")),
        failed_at=seconds_of(values.get("failed_at")) or time.time(),
    )


def _text(raw: bytes) -> str:
    return raw.decode(errors="surrogateescape")
