"""What the kernel says: memory, kills for it, descriptors."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from queued.daemon.master import resources
from queued.daemon.master.resources import OOM_MEMORY, OomKills, memory_limit, resident


def test_resident_memory():
    assert resident(os.getpid()) > 5 * 1024 * 1024
    assert resident(2**22 + 1) == 0


@pytest.fixture(params=["v2", "v1"])
def group(request, tmp_path, monkeypatch) -> SimpleNamespace:
    """Make a folder that is read as the control groups' own; tests/chaos has a real one."""
    old = request.param == "v1"
    ours = _ours(old=old)
    if ours is None:
        pytest.skip(f"this process is in no control group of {request.param} with memory")
    folder = tmp_path / ("memory" if old else "") / ours
    folder.mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(resources, "CGROUPS", tmp_path)
    return SimpleNamespace(
        events=folder / ("memory.oom_control" if old else "memory.events"),
        limit=folder / ("memory.limit_in_bytes" if old else "memory.max"),
        unlimited=f"{2**63 - 4096}\n" if old else "max\n",
    )


def _ours(*, old: bool) -> str | None:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(",") if old else not controllers:
            return path.lstrip("/")
    return None


def test_each_kill_for_memory_explains_one_death(group):
    group.events.write_text("low 0\noom 4\noom_kill 2\noom_group_kill 0\n")
    kills = OomKills()
    assert not kills.explains(1.0)
    group.events.write_text("low 0\noom 4\noom_kill 4\n")
    assert kills.explains(1.0)
    assert kills.explains(1.0)
    assert not kills.explains(1.0)


def test_a_kill_for_memory_is_forgotten(group):
    """It hit what a job had started, say: it must not explain a death minutes later."""
    group.events.write_text("oom_kill 2\n")
    kills = OomKills()
    group.events.write_text("oom_kill 3\n")
    kills.look(1.0)
    assert not kills.explains(1.0 + OOM_MEMORY + 0.1)
    group.events.write_text("oom_kill 4\n")
    kills.look(10.0)
    assert kills.explains(10.0 + OOM_MEMORY - 0.1)


def test_a_counter_that_cannot_be_read_for_a_moment_explains_nothing(group):
    group.events.write_text("oom_kill 2\n")
    kills = OomKills()
    group.events.unlink()
    assert not kills.explains(1.0)
    group.events.write_text("oom_kill 2\n")
    assert not kills.explains(1.0)


def test_the_limit_on_memory(group):
    assert memory_limit() is None
    group.limit.write_text(group.unlimited)
    assert memory_limit() is None
    group.limit.write_text("402653184\n")
    assert memory_limit() == 384 << 20


def test_where_nothing_can_be_read_nothing_happened(tmp_path, monkeypatch):
    monkeypatch.setattr(resources, "CGROUPS", tmp_path)
    assert not OomKills().explains(1.0)
    assert memory_limit() is None


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
