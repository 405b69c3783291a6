"""What the kernel says: memory, kills for it, descriptors."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

from queued.daemon.master.resources import OomKills, resident


def test_resident_memory():
    assert resident(os.getpid()) > 5 * 1024 * 1024
    assert resident(2**22 + 1) == 0


def test_kills_for_memory_are_told_once(tmp_path):
    """The counter is a file of the control group: here it is one of ours."""
    counter = tmp_path / "memory.events"
    counter.write_text("low 0\noom 4\noom_kill 2\noom_group_kill 0\n")
    kills = OomKills()
    kills._file = counter
    kills._seen = kills._read()
    assert not kills.happened()
    counter.write_text("low 0\noom 4\noom_kill 3\n")
    assert kills.happened()
    assert not kills.happened()
    counter.unlink()
    assert not kills.happened()


def test_where_nothing_can_be_read_nothing_happened():
    kills = OomKills()
    kills._file = None
    assert not kills.happened()


PROGRAM = """
import resource
from queued.daemon.master.resources import allow_descriptors
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))
allow_descriptors(50)
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
allow_descriptors(150)
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
allow_descriptors(1000)
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_descriptors_are_allowed_as_far_as_needed_and_possible():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert run.stdout.splitlines() == ["100 200", "150 200", "200 200"]
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
