"""What RouteMQ has stored of one job, and what queued makes of it.

The layout is that of RouteMQ's drivers and of ``Job.serialize``: a JSON object with ``class``
(module and name), ``data`` (the public attributes), and the settings of the instance.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from queued.drivers.base import QUEUE_PATTERN, Counts, FailedJob, NewJob
from queued.errors import EncryptionError, InvalidJob, JobDefinitionError, UnknownJob
from queued.jobs import payload, registry
from queued.jobs.records import record
from queued.jobs.redaction import redact_text
from queued.jobs.text import nearest, safe_lines

DEFAULT_TRIES = 3
POSSIBLE_TRIES = range(1, 1_000)


class Where(StrEnum):
    """Where RouteMQ keeps a job, in the order in which they are moved."""

    RESERVED = "reserved"
    WAITING = "waiting"
    DELAYED = "delayed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Entry:
    """A stored job. Times are seconds since the epoch."""

    where: Where
    queue: str
    source: Any
    """What the source removes it by."""
    identity: str
    """What tells it from all others of its source, whatever becomes of it there."""
    payload: str
    """As ``Job.serialize`` wrote it."""
    due_at: float | None = None
    exception: str = ""
    failed_at: float = 0.0

    @property
    def id(self) -> str:
        """The job's id from now on: the same each time that the entry is read."""
        digest = hashlib.sha256(self.identity.encode(errors="surrogatepass")).hexdigest()
        return f"routemq-{digest[:32]}"

    @property
    def class_name(self) -> str:
        """The class that it names; empty if it cannot be read."""
        fields = _object(self.payload)
        name = fields.get("class") if fields else None
        return name if isinstance(name, str) else ""


class Left(ValueError):
    """An entry cannot be moved, and stays where it is; the message says why."""


class Converter:
    """Makes queued's jobs of entries.

    :param names: the new wire name of each class that is mapped.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self._by_path = {
            f"{cls.__module__}.{cls.__qualname__}": name
            for name, cls in registry.registered().items()
        }

    def job(self, entry: Entry, now: float) -> NewJob:
        """Return the job to enqueue.

        :raises Left: its class is not known, or its fields do not fit.
        """
        delay = 0.0 if entry.due_at is None else max(0.0, entry.due_at - now)
        return NewJob(entry.id, self._payload(entry)[1], delay)

    def failure(self, entry: Entry) -> FailedJob:
        """Return the failed job to store.

        :raises Left: as for ``job``.
        """
        name, encoded = self._payload(entry)
        fields = _object(entry.payload) or {}
        first, _, trace = entry.exception.partition("\n")
        kind = first.partition(":")[0].strip() or "Exception"
        about = record(
            error=redact_text(first or "unknown"),
            kind=kind,
            trace=safe_lines(redact_text(trace.strip())),
            at=entry.failed_at,
            worker="routemq",
            job=name,
            reason="max_tries",
        )
        tries = fields.get("max_tries")
        if not isinstance(tries, int) or tries not in POSSIBLE_TRIES:
            tries = DEFAULT_TRIES
        counts = Counts(errors=tries)
        at = entry.failed_at
        return FailedJob(entry.id, entry.queue, encoded, about, at, at, counts)

    def _payload(self, entry: Entry) -> tuple[str, bytes]:
        if not QUEUE_PATTERN.fullmatch(entry.queue):
            raise Left("no queue of queued may be called so: up to 64 letters, digits, _.:-")
        fields = _object(entry.payload)
        if fields is None or not entry.class_name:
            raise Left("this is no job as RouteMQ writes one")
        data = fields.get("data", {})
        if not isinstance(data, dict):
            raise Left('its "data" is no object')
        name = self.name_of(entry.class_name)
        public = {key: value for key, value in data.items() if not key.startswith("_")}
        try:
            job = payload.build(name, json.dumps(public).encode())
            return name, payload.pack(job, entry.queue, entry.id)
        except (EncryptionError, InvalidJob, UnknownJob, JobDefinitionError) as error:
            raise Left(str(error)) from None
        except Exception as error:  # noqa: BLE001 - an __init__ of the user's may raise anything
            raise Left(f"its class cannot be made: {type(error).__name__}: {error}") from None

    def name_of(self, class_name: str) -> str:
        """Return the wire name of the class that RouteMQ calls ``class_name``.

        :raises Left: there is none.
        """
        known = registry.registered()
        name = self._names.get(class_name) or self._by_path.get(class_name) or class_name
        if name in known:
            return name
        last = class_name.rpartition(".")[2]
        alike = [one for one, cls in known.items() if cls.__name__ == last]
        if len(alike) == 1:
            raise Left(f"no such class in imports; perhaps --map {class_name}={alike[0]}")
        raise Left(f"no such class in imports{nearest(class_name, known)}")


def seconds_of(value: Any) -> float | None:
    """Return a time of RouteMQ's in seconds since the epoch: what has no zone is UTC there."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
