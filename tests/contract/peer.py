"""Another process's client, run by the tests: it writes a line for what the back-end acknowledged.

peer.py produce URL FIRST COUNT     enqueue jobs FIRST to FIRST + COUNT - 1, ten at a time
peer.py work URL OWNER              reserve and acknowledge until nothing waits
"""

from __future__ import annotations

import asyncio
import sys

from queued.drivers import driver_for
from queued.drivers.base import Ack, Driver, NewJob, Settlement

Q = "emails"


async def produce(driver: Driver, first: str, count: str) -> None:
    for start in range(int(first), int(first) + int(count), 10):
        batch = [NewJob(f"job-{number:04}", b"") for number in range(start, start + 10)]
        assert all(await driver.enqueue(Q, batch))
        print(*(job.id for job in batch), flush=True)


async def work(driver: Driver, owner: str) -> None:
    finished: list[Settlement] = []
    nonce = 1
    while finished or (await driver.stats([Q]))[Q].size:
        answer = await driver.exchange(Q, owner, finished, want=3, nonce=nonce)
        assert not answer.lost, answer.lost
        print(*(settled.id for settled in finished), flush=True)
        finished, nonce = [Ack(job.id, job.fence) for job in answer.jobs], nonce + 1


async def main(verb: str, url: str, *arguments: str) -> None:
    driver = driver_for(url)
    await driver.open()
    await {"produce": produce, "work": work}[verb](driver, *arguments)
    await driver.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
