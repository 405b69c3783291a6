"""The benchmarks: what they make of values, and that a small run of queued alone works."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import report, systems
from benchmarks.aims import Aim
from benchmarks.results import TIMES as X
from benchmarks.results import Metric, Results, number
from benchmarks.scenarios.base import Size
from benchmarks.watch import Sample, rate
from tests.process.harness import is_alive, until

ROOT = Path(__file__).parent.parent.parent
FAST = Metric("drain", "drain", "jobs/s")
SLOW = Metric("latency-p50", "latency", "ms", lower=True)


def measured() -> Results:
    results = Results()
    for system, values in {
        "queued": (900, 1000, 5000),
        "huey": (200, 250, 100),
        "saq": (80,),
    }.items():
        for value in values:
            results.add(FAST, system, value)
    for system, value in {"queued": 0.5, "huey": 1.0, "saq": 2.0}.items():
        results.add(SLOW, system, value)
    return results


def test_medians_and_ratios_say_how_many_times_better():
    results = measured()
    assert results.median("drain", "queued") == 1000
    assert results.ratio("drain", "queued", "huey") == 5
    assert results.ratio("latency-p50", "queued", "huey") == 2
    assert results.ratio("drain", "queued", "rq") is None
    assert results.ratio("sleep", "queued", "huey") is None
    assert results.best("drain", ("huey", "saq", "rq")) == "huey"
    assert results.best("latency-p50", ("saq", "huey")) == "huey"
    assert results.best("drain", ("rq",)) is None


@pytest.mark.parametrize(
    ("aim", "reached"),
    [
        (Aim("drain", 5, ("saq", "huey")), True),
        (Aim("drain", 5.1, ("saq", "huey")), False),
        (Aim("drain", value=1000), True),
        (Aim("drain", value=1001), False),
        (Aim("latency-p50", value=0.5), True),
        (Aim("latency-p50", value=0.4), False),
        (Aim("drain", 5, ("rq",)), None),
        (Aim("sleep", value=95), None),
    ],
)
def test_an_aim_is_reached_or_not_or_was_not_measured(aim: Aim, reached: bool | None):
    verdict = aim.verdict(measured())
    assert (verdict and verdict.reached) == reached


def test_a_drain_is_timed_from_its_first_job_to_its_last():
    samples = [Sample(10.5, 0, 0), Sample(11.0, 10, 1), Sample(15.0, 100, 1)]
    assert rate(samples, first=10.9, last=14.9, total=100, processes=1) == pytest.approx(25)


def test_the_clock_of_several_workers_starts_when_all_of_them_run():
    samples = [Sample(11.0, 10, 1), Sample(12.0, 20, 2), Sample(15.0, 100, 2)]
    assert rate(samples, first=10.9, last=14.0, total=100, processes=2) == pytest.approx(40)


def test_a_worker_that_comes_too_late_does_not_shorten_the_drain():
    samples = [Sample(11.0, 10, 1), Sample(14.0, 90, 2), Sample(15.0, 100, 2)]
    assert rate(samples, first=10.0, last=15.0, total=100, processes=2) == pytest.approx(20)


def test_a_drain_that_was_cut_short_ends_with_its_last_look():
    samples = [Sample(11.0, 10, 1), Sample(15.0, 50, 1)]
    assert rate(samples, first=10.0, last=14.9, total=100, processes=1) == pytest.approx(10)


def test_a_table_has_medians_spread_and_ratios():
    about = report.About("now", "2 cores", "3.11", "redis 7", 0.1, {"queued": "1.2"}, Size())
    table = report.markdown(measured(), about)
    assert "|  | queued 1.2 | huey  | saq  |" in table
    assert (
        f"| drain, jobs/s | 1,000 (900 to 5,000) | 200 (100 to 250) *5{X}* | 80 *12.5{X}* |"
        in table
    )
    assert f"| latency, ms | 0.5 | 1 *2{X}* | 2 *4{X}* |" in table
    assert f"| drain | ≥ 4 {X} huey | 5.00 {X} | reached |" in table
    assert "| drain | ≥ 45,000 jobs/s | 1,000 jobs/s | **not reached** |" in table


def test_numbers_have_three_digits_or_are_whole():
    assert [number(value) for value in (0.01234, 9.876, 99.96, 1234.5, 80_000.0)] == [
        "0.0123",
        "9.88",
        "100",
        "1,234",
        "80,000",
    ]


def test_a_name_stands_for_all_back_ends_of_a_peer():
    names = [one.name for one in systems.chosen(("taskiq", "saq", "huey-sqlite"))]
    assert names[2:] == ["taskiq-streams", "taskiq-list", "saq", "huey-sqlite"]
    with pytest.raises(KeyError):
        systems.chosen(("celeri",))


def benchmarks(*arguments: str, output: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks", "--peers", "none", "--output", output, *arguments],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(output), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_small_run_of_queued_alone_measures_and_reports(tmp_path: Path):
    run = benchmarks("--quick", "--jobs", "200", "--scenario", "drain,sqlite", output=tmp_path)
    told, _ = run.communicate(timeout=100)
    assert run.returncode == 0, told
    written = json.loads(next(tmp_path.glob("*.json")).read_text())
    metrics = written["metrics"]
    for name, system in (("drain", "queued"), ("sqlite-drain", "queued-sqlite")):
        assert metrics[name]["systems"][system]["median"] > 0
    assert written["about"]["versions"]["queued"]
    assert next(tmp_path.glob("*.md")).read_text() in told
    assert not list(tmp_path.glob("queued-bench-*"))


def test_an_interrupt_leaves_nothing_running(tmp_path: Path):
    run = benchmarks("--scenario", "latency", output=tmp_path)
    ticks = until(lambda: list(tmp_path.glob("queued-bench-*/*/ticks/[0-9]*")), "workers to run")
    run.send_signal(signal.SIGINT)
    told, _ = run.communicate(timeout=60)
    assert run.returncode == 130, told
    assert "nothing is left running" in told
    until(lambda: not any(is_alive(int(path.name)) for path in ticks), "the workers to be gone")
    assert not list(tmp_path.glob("queued-bench-*"))
