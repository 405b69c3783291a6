"""Ids: UUIDv7 that rise, over threads and forks."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from uuid import UUID

from queued.drivers.base import ID_PATTERN
from queued.jobs import ids


def test_an_id_is_a_uuid_of_version_7_with_the_time() -> None:
    before = time.time_ns() // 1_000_000
    made = UUID(ids.new_id())
    after = time.time_ns() // 1_000_000

    assert made.version == 7
    assert made.variant == "specified in RFC 4122"
    assert before <= made.int >> 80 <= after + 1


def test_ids_are_canonical_text_that_a_driver_takes() -> None:
    made = ids.new_id()

    assert made == str(UUID(made))
    assert ID_PATTERN.fullmatch(made)


def test_ids_rise_strictly() -> None:
    made = [ids.new_id() for _ in range(20_000)] + ids.new_ids(20_000) + [ids.new_id()]

    assert made == sorted(set(made))


def test_ids_rise_when_the_clock_steps_back() -> None:
    clock = ids._Clock()
    clock.millisecond = time.time_ns() // 1_000_000 + 3_600_000
    ahead = clock.millisecond

    assert [clock.take(2), clock.take(1)] == [(ahead, 1), (ahead, 3)]


def test_none_is_a_number_of_ids() -> None:
    assert ids.new_ids(0) == []


def test_threads_never_share_an_id() -> None:
    made: list[list[str]] = []

    def make() -> None:
        mine = [ids.new_id() for _ in range(2_000)]
        made.append(mine)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    every = [one for mine in made for one in mine]
    assert len(set(every)) == 16_000


def test_a_forked_process_does_not_count_on_from_its_parent() -> None:
    program = """
import os, sys
from queued.jobs import ids
ids._clock.lock.acquire()  # as another thread might hold it
ids._clock.millisecond = 1 << 47  # far ahead: parent and child would both count on from its tail
read, write = os.pipe()
if os.fork() == 0:
    os.write(write, ids.new_id().encode())
    os._exit(0)
os.wait()
ids._clock.lock.release()
print(os.read(read, 100).decode(), ids.new_id())
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    child, parent = ran.stdout.split()

    assert UUID(parent).int >> 80 == 1 << 47
    assert UUID(child).int >> 80 != 1 << 47
