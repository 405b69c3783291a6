"""What is behind one URL of the memory driver: its queues, its batches and their lock."""

from __future__ import annotations

import threading
import time

from queued.drivers.memory.batches import Batches
from queued.drivers.memory.queue import StoredQueue
from queued.drivers.sequel import Parcel


class Store:
    """All queues behind one URL, and the lock under which each verb runs.

    One loop needs no lock; but ``queue.sync`` pushes from a thread of its own.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.queues: dict[str, StoredQueue] = {}
        self.batches = Batches(self.send)

    def queue(self, name: str) -> StoredQueue:
        """Return a queue. One that never had a job is made here, and not listed as one."""
        return self.queues.setdefault(name, StoredQueue(name, self.batches))

    def send(self, parcel: Parcel) -> None:
        """Enqueue what follows a job."""
        target = self.queue(parcel.queue)
        if target.enqueue(parcel.job, self.now()):
            target.ring()
        elif target.jobs[parcel.job.id].sequel != parcel.job.sequel:
            self.batches.refused(parcel.job.sequel, self.now())

    def now(self) -> float:
        """Return the time of this back-end: seconds since the epoch, by the system's clock."""
        return time.time()
