"""A short soak over each back-end: what ``make chaos`` does for longer."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from tests.chaos.faults import KINDS
from tests.chaos.ledger import Fault, Ledger
from tests.chaos.oracle import Judgement
from tests.chaos.report import Report
from tests.chaos.soak import ENOUGH, Plan, soak


@pytest.mark.fault(1, 3)
@pytest.mark.timeout(300)
def test_the_kills_of_workers_monitor_and_master_lose_nothing(tmp_path: Path) -> None:
    kills = {"worker killed": 5, "monitor killed": 1, "master killed": 1}
    judgement, report = soak("sqlite", Plan(0, kills), 20_261, tmp_path)
    assert not judgement.broken
    assert {name: report.damages[name].count for name in kills} == kills


@pytest.mark.fault(25)
@pytest.mark.timeout(300)
@pytest.mark.parametrize("backend", ["valkey", "valkey-always"])
def test_the_kills_of_a_server_lose_nothing(tmp_path: Path, backend: str) -> None:
    kills = {"worker killed": 5, "server killed": 3}
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


# a soak that hits nothing fails


@pytest.mark.timeout(300)
def test_a_soak_that_injects_nothing_fails(tmp_path: Path) -> None:
    judgement, _ = soak("sqlite", Plan(0, {}), 20_263, tmp_path)
    assert "nothing was proven: no fault was injected" in judgement.broken


def told(folder: Path, *faults: str) -> Report:
    """Return the report of a round in which one job ran, in process 7, and these faults hit 8."""
    ledger, report = Ledger(folder), Report()
    ledger.runs_path.write_text("begin a 1 7 10.0\nend a 1 7 10.5\n")
    for number, name in enumerate(faults):
        ledger.add(Fault(name, 10.1 + number, 10.1 + number, frozenset({8})))
    judgement = Judgement()
    judgement.jobs["any"] += 1
    report.add(ledger, judgement)
    ledger.close()
    return report


@pytest.mark.parametrize(
    ("faults", "counts", "missing"),
    [
        ([], None, ["no fault was injected"]),
        (["job dies"], None, ["no fault was injected"]),
        (["monitor killed"], None, []),
        (["worker killed"], None, []),
        (["worker killed"] * ENOUGH, None, ["no job was reclaimed, though workers were killed 5"]),
        (["worker killed"], {"worker killed": 1}, ["no job was reclaimed, though workers were"]),
        (
            ["monitor killed"],
            {"monitor killed": 2},
            ['"monitor killed" was planned 2 times'],
        ),
    ],
)
def test_what_a_soak_must_have_hit(
    tmp_path: Path, faults: list[str], counts: dict[str, int] | None, missing: list[str]
) -> None:
    lines = Plan(0, counts).unproven(told(tmp_path, *faults), KINDS.values())
    assert len(lines) == len(missing)
    for line, words in zip(lines, missing, strict=True):
        assert line.startswith(f"nothing was proven: {words}")


def test_a_soak_without_a_job_proves_nothing() -> None:
    assert "nothing was proven: no job was acknowledged" in Plan(0).unproven(Report(), [])
