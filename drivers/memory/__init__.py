"""The reference driver: everything in one process, for tests and to be read.

``memory://name`` is one store for all drivers of that URL in the process; ``memory://`` alone is
private to its driver. Nothing outlives the process. Each verb is one plain critical section: the
shortest statement of what the other drivers do in Lua and SQL.

Read ``driver`` (the verbs), ``queue`` (the moves between a queue's states) and ``records`` (a job,
an owner). Beside them: ``store`` (all queues of a URL), ``batches``, ``bell`` (who is waked).
"""

from queued.drivers.memory.driver import MemoryDriver
from queued.drivers.memory.store import Store

__all__ = ["MemoryDriver", "Store"]
