"""Job ids: UUIDv7 (RFC 9562), which sort by the time they were made.

Within a process ids rise strictly, also within one millisecond and when the clock steps back: the
74 bits that are not time are drawn at random for each millisecond and then counted up.
"""

from __future__ import annotations

import os
import threading
import time

# The first 80 bits stay for a millisecond: the time, the version, 12 bits, the variant, 14 bits.
_VERSION = 0x7 << 28
_VARIANT = 0b10 << 14
_LOW_MASK = (1 << 14) - 1
# The last 48, which are the last group of digits, are counted. Of them, and of all 74 that are not
# given, the top bit is left free when they are drawn, so that counting cannot overflow.
_COUNTED = (1 << 48) - 1
_SEED_MASK = (1 << 73) - 1 & ~(1 << 47)


class _Clock:
    """The last id of this process, as (milliseconds, tail)."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.millisecond = 0
        self.tail = 0

    def take(self, count: int) -> tuple[int, int]:
        """Reserve ``count`` ids; return the millisecond and the first tail."""
        now = time.time_ns() // 1_000_000
        with self.lock:
            if now > self.millisecond:
                self.millisecond = now
                self.tail = int.from_bytes(os.urandom(10), "big") & _SEED_MASK
            first = self.tail + 1
            self.tail += count
            return self.millisecond, first


_clock = _Clock()


def new_id() -> str:
    """Return a new id, as the canonical text of a UUIDv7."""
    millisecond, tail = _clock.take(1)
    return f"{_head(millisecond, tail)}{tail & _COUNTED:012x}"


def new_ids(count: int) -> list[str]:
    """Return ``count`` new ids, rising."""
    millisecond, tail = _clock.take(count)
    head, first = _head(millisecond, tail), tail & _COUNTED
    return [f"{head}{counted:012x}" for counted in range(first, first + count)]


def _head(millisecond: int, tail: int) -> str:
    fixed = tail >> 48
    number = millisecond << 32 | _VERSION | fixed >> 14 << 16 | _VARIANT | fixed & _LOW_MASK
    digits = f"{number:020x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:]}-"


def _after_fork() -> None:
    # The child must not count on from its parent's tail, and another thread may have held the lock.
    global _clock  # noqa: PLW0603 - one clock for each process
    _clock = _Clock()


os.register_at_fork(after_in_child=_after_fork)
