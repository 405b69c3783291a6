"""Back-ends filled as RouteMQ fills them: its entries, keys, tables and times.

After its ``RedisQueue``, ``DatabaseQueue`` and ``Job.serialize``, of older versions (``core``: no
``created_at``, no id of a failed job) and of those that came after (``routemq``).
"""

from __future__ import annotations

import json
import sqlite3
import time
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import redis

CLASS = "app.jobs.send_email_job.SendEmailJob"
_micros = count(int(time.time() * 1_000_000))


def payload(class_name: str = CLASS, *, queue: str = "emails", **data: Any) -> str:
    """Return what ``Job.serialize`` returns."""
    return json.dumps(
        {
            "class": class_name,
            "data": data,
            "observability": {"trace_id": "x"},
            "max_tries": 3,
            "timeout": 30,
            "retry_after": 10,
            "queue": queue,
        }
    )


def entry(job: str, queue: str = "emails", *, attempts: int = 0, old: bool = False) -> str:
    """Return an entry of a list or sorted set."""
    values: dict[str, Any] = {
        "id": f"{queue}:{next(_micros)}",
        "payload": job,
        "attempts": attempts,
    }
    if not old:
        values["created_at"] = datetime.now(UTC).isoformat()
    return json.dumps(values)


def reserved(waiting: str) -> str:
    """Return an entry as the pop leaves it."""
    values = json.loads(waiting)
    values["attempts"] += 1
    values["reserved_at"] = datetime.now(UTC).isoformat()
    return json.dumps(values)


def failure(job: str, queue: str = "emails", *, at: datetime, old: bool = False) -> str:
    values: dict[str, Any] = {
        "id": f"failed:{queue}:{next(_micros)}",
        "connection": "default",
        "queue": queue,
        "payload": job,
        "exception": 'ValueError: no mailbox\nTraceback (most recent call last):\n  File "x.py"\n',
        "failed_at": at.isoformat(),
    }
    if old:
        del values["id"]
        values["failed_at"] = at.replace(tzinfo=None).isoformat()
    return json.dumps(values)


class Redis:
    """RouteMQ's Redis."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client: Any = redis.Redis.from_url(url, decode_responses=True)

    def push(self, raw: str, queue: str = "emails") -> None:
        self.client.rpush(f"routemq:queue:{queue}", raw)

    def later(self, raw: str, due: float, queue: str = "emails") -> None:
        self.client.zadd(f"routemq:queue:{queue}:delayed", {raw: due})

    def reserve(self, raw: str, queue: str = "emails") -> None:
        self.client.rpush(f"routemq:queue:{queue}:reserved", raw)

    def fail(self, raw: str, queue: str = "emails") -> None:
        self.client.rpush(f"routemq:queue:failed:{queue}", raw)

    def heartbeat(self, worker: str, state: str) -> None:
        key = f"routemq:queue:workers:{worker}"
        self.client.hset(key, mapping={"worker_id": worker, "state": state})

    def left(self) -> list[str]:
        return sorted(self.client.keys("routemq:*"))


TABLES = """
CREATE TABLE queue_jobs (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    queue VARCHAR(255) NOT NULL,
    payload TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    reserved_at DATETIME,
    available_at DATETIME NOT NULL,
    created_at DATETIME NOT NULL
);
CREATE INDEX queue_jobs_queue_reserved_at_index ON queue_jobs (queue, reserved_at);
CREATE TABLE queue_failed_jobs (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    connection VARCHAR(255) NOT NULL,
    queue VARCHAR(255) NOT NULL,
    payload TEXT NOT NULL,
    exception TEXT NOT NULL,
    failed_at DATETIME NOT NULL
);
"""


def _stamp(at: datetime | None) -> str | None:
    return at and at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


class Database:
    """RouteMQ's database, in SQLite: what SQLAlchemy makes of its models there."""

    def __init__(self, path: Path) -> None:
        self.url = f"sqlite:///{path}"
        self.file = sqlite3.connect(path)
        self.file.executescript(TABLES)

    def push(
        self,
        job: str,
        queue: str = "emails",
        *,
        wait: float = 0.0,
        attempts: int = 0,
        taken: bool = False,
    ) -> None:
        now = datetime.now(UTC)
        self.file.execute(
            "INSERT INTO queue_jobs"
            " (queue, payload, attempts, reserved_at, available_at, created_at)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (
                queue,
                job,
                attempts,
                _stamp(now if taken else None),
                _stamp(now + timedelta(seconds=wait)),
                _stamp(now),
            ),
        )
        self.file.commit()

    def fail(self, job: str, queue: str = "emails", *, at: datetime) -> None:
        self.file.execute(
            "INSERT INTO queue_failed_jobs (connection, queue, payload, exception, failed_at)"
            " VALUES ('default', ?, ?, ?, ?)",
            (queue, job, "ValueError: no mailbox\nTraceback\n", _stamp(at)),
        )
        self.file.commit()

    def left(self) -> list[tuple[str, str]]:
        rows = "SELECT queue, payload FROM {} ORDER BY id"
        return [
            row
            for table in ("queue_jobs", "queue_failed_jobs")
            for row in self.file.execute(rows.format(table))
        ]
