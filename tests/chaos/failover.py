"""What tests of failovers share: somebody who pushes all the while, and all that a daemon tells."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path

import redis

from queued.errors import DriverUnavailable
from queued.jobs.queue import Queue
from tests.chaos import work
from tests.chaos.ledger import Ledger
from tests.process.harness import Daemon, until


class Producer:
    """Pushes job after job to each queue, and knows when each was acknowledged."""

    def __init__(self, url: str, queues: Sequence[str], ledger: Ledger) -> None:
        self.acknowledged: dict[str, list[tuple[float, str]]] = {queue: [] for queue in queues}
        self._queue, self._ledger = Queue(url), ledger
        self._tasks: list[asyncio.Task[None]] = []
        self._stopped = False

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._run(queue)) for queue in self.acknowledged]

    async def _run(self, queue: str) -> None:
        while not self._stopped:
            try:
                receipts = await self._queue.bulk([work.Sleeps(seconds=0.02)] * 3, queue)
            except DriverUnavailable as error:
                self._ledger.doubt(error.ids, "sleeps")
            else:
                at = time.monotonic()
                self.acknowledged[queue] += [(at, receipt.id) for receipt in receipts]
            await asyncio.sleep(0.03)

    async def stop(self) -> None:
        self._stopped = True
        await asyncio.gather(*self._tasks)
        await self._queue.close()

    async def more(self, count: int, *queues: str) -> None:
        """Wait for so many further acknowledgements of each queue."""
        wanted = {queue: len(self.acknowledged[queue]) + count for queue in queues}

        def there() -> bool:
            return all(len(self.acknowledged[queue]) >= n for queue, n in wanted.items())

        await asyncio.to_thread(until, there, f"{count} more of {queues}")

    def settle(self, lost: str = "", since: float = 0.0, to: float = 0.0) -> None:
        """Write down what is promised: all but what ``lost`` acknowledged between two times."""
        for queue, acknowledged in self.acknowledged.items():
            for at, job_id in acknowledged:
                may_be_lost = queue == lost and since <= at <= to
                word = self._ledger.doubt if may_be_lost else self._ledger.acknowledge
                word([job_id], "sleeps")


def until_replicated(primary: redis.Redis, replica: redis.Redis) -> None:
    """Wait until a replica has what its primary has now, whatever is written meanwhile.

    What was acknowledged before this survives the primary; of what follows nobody knows.
    """
    with primary, replica:
        now = primary.info("replication")["master_repl_offset"]
        until(
            lambda: replica.info("replication").get("slave_repl_offset", -1) >= now,
            "the replica to have it all",
        )


def driver_errors(metrics: str) -> float:
    """Return how many calls of the back-end failed, by a page of metrics."""
    found = re.findall(r"^queued_driver_errors_total\{.*\} (.+)$", metrics, re.MULTILINE)
    return sum(map(float, found))


def all_that_it_tells(daemon: Daemon) -> str:
    """Return the log, the metrics, the status, and how the processes are called in ``ps``."""
    files = [Path(f"/proc/{pid}/cmdline") for pid in daemon.processes()]
    titles = [file.read_text() for file in files if file.exists()]
    status = json.dumps(daemon.status())
    return "\n".join([daemon.output(), daemon.metrics(), status, *titles])
