"""A short soak over each back-end: what ``make chaos`` does for longer."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from tests.chaos.soak import Plan, soak


@pytest.mark.fault(1, 3)
@pytest.mark.timeout(300)
def test_the_kills_of_workers_monitor_and_master_lose_nothing(tmp_path: Path) -> None:
    kills = {"worker killed": 3, "monitor killed": 1, "master killed": 1}
    judgement, report = soak("sqlite", Plan(0, kills), 20_261, tmp_path)
    assert not judgement.broken
    assert {name: report.damages[name].count for name in kills} == kills


@pytest.mark.fault(25)
@pytest.mark.timeout(300)
@pytest.mark.parametrize("backend", ["valkey", "valkey-always"])
def test_the_kills_of_a_server_lose_nothing(tmp_path: Path, backend: str) -> None:
    kills = {"worker killed": 1, "server killed": 3}
    judgement, report = soak(backend, Plan(0, kills), 20_262, tmp_path)
    assert not judgement.broken
    assert {name: report.damages[name].count for name in kills} == kills


@pytest.mark.timeout(300)
@pytest.mark.parametrize("backend", ["sqlite", "valkey"])
def test_faults_at_random_lose_nothing(tmp_path: Path, backend: str) -> None:
    seed = secrets.randbits(32)
    print(f"replay: python -m tests.chaos.soak --seconds 8 --backend {backend} --seed {seed}")
    judgement, report = soak(backend, Plan(8.0), seed, tmp_path)
    assert not judgement.broken
    assert report.sums["acknowledged"]
