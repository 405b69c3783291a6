"""Job ids: UUIDv7 (RFC 9562), which sort by the time they were made.

Within a process ids rise strictly, also within one millisecond and when the clock steps back: the
74 bits that are not time are drawn at random for each millisecond and then counted up.
"""

from __future__ import annotations

import os
import threading
import time

_VERSION = 0x7 << 76
_VARIANT = 0b10 << 62
_LOW_MASK = (1 << 62) - 1
_SEED_MASK = (1 << 73) - 1  # of 74 bits the top one is left free, so that counting cannot overflow


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
    return _text(*_clock.take(1))


def new_ids(count: int) -> list[str]:
    """Return ``count`` new ids, rising."""
    millisecond, first = _clock.take(count)
    return [_text(millisecond, tail) for tail in range(first, first + count)]


def _text(millisecond: int, tail: int) -> str:
    number = millisecond << 80 | _VERSION | (tail >> 62) << 64 | _VARIANT | tail & _LOW_MASK
    digits = number.to_bytes(16, "big").hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _after_fork() -> None:
    # The child must not count on from its parent's tail, and another thread may have held the lock.
    global _clock  # noqa: PLW0603 - one clock for each process
    _clock = _Clock()


os.register_at_fork(after_in_child=_after_fork)
