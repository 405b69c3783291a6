"""What a long queue costs: reserve, sample and drain, from a thousand jobs to a million."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import astuple, dataclass

from benchmarks.server import Server
from queued.drivers import driver_for
from queued.drivers.base import MAX_BATCH, Ack, Driver, NewJob
from queued.jobs.ids import new_ids

QUEUE = "backlog"
OWNER = "bench"
BATCH = 32
"""Jobs of one exchange: the concurrency of the other benchmarks."""
BODY = b'{"v":1,"job":"benchmarks.Job"}\n' + b'{"text":"' + b"x" * 89 + b'"}'
"""A payload whose body has 100 bytes."""
TOMORROW = 86_400.0
EXCHANGES = 1_500
SAMPLES = 200


@dataclass(frozen=True, slots=True)
class Cost:
    """What was measured at one length of the queue; times in µs, each a median."""

    backlog: int
    scheduled: int
    reserve: float
    """An exchange that settles 32 jobs and reserves 32."""
    sample: float
    """One reading of the queue's counts and ages, as the monitor makes it."""
    drained: float
    """Jobs a second at that pace, of a client without any worker around it."""
    bytes_per_job: float
    """Of the server's memory, all keys counted."""


async def measure(
    server: Server, lengths: Sequence[int], scheduled: int, rounds: int, say: Callable[[str], None]
) -> list[Cost]:
    """Measure at each length in turn, on an emptied server with ``scheduled`` further jobs.

    The medians of several rounds are returned: the machine's own speed drifts.
    """
    taken: dict[int, list[Cost]] = {length: [] for length in lengths}
    for length in [*lengths] * rounds:
        server.flush()
        driver = driver_for(server.url)
        await driver.open()
        try:
            cost = await _measure(driver, server, length, scheduled)
        finally:
            await driver.close()
        taken[length].append(cost)
        say(f"{cost}")
    return [_typical(costs) for costs in taken.values()]


def _typical(costs: Sequence[Cost]) -> Cost:
    return Cost(*map(statistics.median, zip(*map(astuple, costs), strict=True)))


async def _measure(driver: Driver, server: Server, length: int, scheduled: int) -> Cost:
    await _fill(driver, scheduled, TOMORROW)
    before = _memory(server)
    await _fill(driver, length, 0.0)
    used = (_memory(server) - before) / length
    sample = await _median(lambda: driver.stats([QUEUE]), SAMPLES)
    times = await _exchanges(driver, length)
    typical = statistics.median(times)
    return Cost(length, scheduled, 1e6 * typical, sample, BATCH / typical, used)


async def _fill(driver: Driver, count: int, delay: float) -> None:
    for start in range(0, count, MAX_BATCH):
        ids = new_ids(min(MAX_BATCH, count - start))
        await driver.enqueue(QUEUE, [NewJob(job_id, BODY, delay) for job_id in ids])


async def _exchanges(driver: Driver, length: int) -> list[float]:
    """Return how long exchanges take that settle what the one before reserved.

    After each 480 jobs as many are put back, so that a thousand never fall below the half.
    """
    times: list[float] = []
    settled: list[Ack] = []
    for nonce in range(1, EXCHANGES + 1):
        began = time.perf_counter()
        answer = await driver.exchange(QUEUE, OWNER, settled, want=BATCH, nonce=nonce)
        times.append(time.perf_counter() - began)
        settled = [Ack(job.id, job.fence) for job in answer.jobs]
        if nonce % 15 == 0:
            await _fill(driver, 15 * BATCH, 0.0)
    assert len(settled) == BATCH, f"the queue of {length} ran empty"
    return times


async def _median(call: Callable[[], Awaitable[object]], count: int) -> float:
    times = []
    for _ in range(count):
        began = time.perf_counter()
        await call()
        times.append(time.perf_counter() - began)
    return 1e6 * statistics.median(times)


def _memory(server: Server) -> int:
    with server.client() as client:
        return int(client.info("memory")["used_memory"])


def run(
    server: Server, lengths: Sequence[int], scheduled: int, rounds: int, say: Callable[[str], None]
) -> list[Cost]:
    return asyncio.run(measure(server, lengths, scheduled, rounds, say))
