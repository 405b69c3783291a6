"""Jobs that have failed, or lost their worker, as the tests of commands find them."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from queued.drivers import driver_for
from queued.drivers.base import Driver, Fail, NewJob, Release
from queued.drivers.states import Charge

RECORD = {
    "error": "ValueError: no \x1b[31mstation",
    "type": "builtins.ValueError",
    "traceback": 'Traceback (most recent call last):\n  File "jobs.py", line 3\nValueError',
    "at": 1_700_000_000.0,
    "worker": "emails/1",
    "job": "app.SendEmail",
    "reason": "max_tries",
}
NOTE = {"at": 1_700_000_000.0, "outcome": "failed", "error": "ValueError: no", "run": 1}


DOSSIER = {
    "ending": "was killed by SIGSEGV",
    "host": "h1",
    "oom": False,
    "peak_memory": 212 << 20,
    "ran": 0.31,
    "stack": 'Current thread 0x1:\n  File "jobs.py\x1b[31m", line 3 in handle',
}
LOG = [
    json.dumps({"timestamp": "T", "level": "info", "event": "x", "n": 1, "text": "a\x1b[31mb"}),
    "plain \x1b[31mline",
]
WHOLE = DOSSIER | {"worker": "emails/2", "run": 3, "memory_limit": 1 << 30, "log": LOG}


def fail_jobs(
    url: str, queue: str, *ids: str, record: Any = RECORD, note: Any = NOTE, lost: bool = False
) -> None:
    """Enqueue jobs and fail them, as a worker does; ``lost``: hand them back, as a janitor does."""

    async def act(driver: Driver) -> None:
        payload = b'{"v":1,"job":"app.SendEmail"}\n{"to":"x","password":"hunter2"}'
        await driver.enqueue(queue, [NewJob(one, payload) for one in ids])
        owner = f"test-{time.monotonic_ns()}"
        held = await driver.exchange(queue, owner, want=len(ids), nonce=1)
        assert len(held.jobs) == len(ids)
        paper, line = json.dumps(record).encode(), json.dumps(note).encode()
        ends = [
            Release(one.id, one.fence, Charge.LOST, line)
            if lost
            else Fail(one.id, one.fence, Charge.ERROR, paper, line)
            for one in held.jobs
        ]
        await driver.exchange(queue, owner, ends, want=0, nonce=2)

    asyncio.run(with_driver(url, act))


async def with_driver(url: str, act: Any) -> Any:
    driver = driver_for(url)
    await driver.open()
    try:
        return await act(driver)
    finally:
        await driver.close()
