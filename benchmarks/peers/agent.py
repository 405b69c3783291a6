"""The program that runs in a system's environment: ``python -m peers.agent ADAPTER VERB …``.

    worker PROCESSES CONCURRENCY JOB    becomes the system's own worker command
    enqueue STYLE HOW JOB COUNT         HOW: many, one (after another), together (200 at once)
    latency STYLE COUNT RATE            jobs at RATE a second, each with the time it was sent at,
                                        after one that has none

The last two print a JSON object. What connects (one job, or 200) is counted and not timed.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import time
from collections.abc import Coroutine
from typing import Any

from .base import AsyncProducer, SyncProducer

TOGETHER = 200
"""Awaited calls at once, as in a busy web server."""


def main(name: str, verb: str, *args: str) -> None:
    """Run a verb of the adapter ``name``."""
    adapter = importlib.import_module(f"{__package__}.{name}")
    if verb == "worker":
        processes, concurrency, job = args
        command = adapter.worker(int(processes), int(concurrency), job)
        os.execvp(command[0], command)
    style, *rest = args
    made = adapter.PRODUCERS[style or next(iter(adapter.PRODUCERS))]()
    if isinstance(made, AsyncProducer):
        answer = _run(_asynchronous(made, verb, rest))
    else:
        answer = _synchronous(made, verb, rest)
    print(json.dumps(answer))


def _run(main: Coroutine[Any, Any, dict[str, float]]) -> dict[str, float]:
    try:
        import uvloop  # noqa: PLC0415 - where the system supports it
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


def _synchronous(producer: SyncProducer, verb: str, args: list[str]) -> dict[str, float]:
    if verb == "latency":
        return _paced(producer, int(args[0]), float(args[1]))
    how, job, count = args[0], args[1], int(args[2]) - 1
    producer.one(job)  # connects
    began = time.perf_counter()
    if how == "many":
        producer.many(job, count)
    else:
        for _ in range(count):
            producer.one(job)
    return {"rate": count / (time.perf_counter() - began)}


def _paced(producer: SyncProducer, count: int, rate: float) -> dict[str, float]:
    producer.one("noop")  # connects
    due = time.monotonic()
    for _ in range(count):
        due += 1 / rate
        time.sleep(max(0.0, due - time.monotonic()))
        producer.one("stamp", time.monotonic())
    return {}


async def _asynchronous(producer: AsyncProducer, verb: str, args: list[str]) -> dict[str, float]:
    await producer.open()
    try:
        if verb == "latency":
            return await _paced_awaited(producer, int(args[0]), float(args[1]))
        return await _enqueue(producer, args[0], args[1], int(args[2]))
    finally:
        await producer.close()


async def _enqueue(producer: AsyncProducer, how: str, job: str, count: int) -> dict[str, float]:
    warm = TOGETHER if how == "together" else 1
    await asyncio.gather(*(producer.one(job) for _ in range(warm)))  # connects
    count -= warm
    began = time.perf_counter()
    if how == "many":
        await producer.many(job, count)
    elif how == "one":
        for _ in range(count):
            await producer.one(job)
    else:
        for start in range(0, count, TOGETHER):
            some = min(TOGETHER, count - start)
            await asyncio.gather(*(producer.one(job) for _ in range(some)))
    return {"rate": count / (time.perf_counter() - began)}


async def _paced_awaited(producer: AsyncProducer, count: int, rate: float) -> dict[str, float]:
    await producer.one("noop")  # connects
    due = time.monotonic()
    for _ in range(count):
        due += 1 / rate
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        await producer.one("stamp", time.monotonic())
    return {}


if __name__ == "__main__":
    main(*sys.argv[1:])
