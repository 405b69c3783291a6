"""The oracle finds what it is there to find: each promise, broken in a doctored ledger."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from queued.drivers.base import FailedJob, State
from tests.chaos.ledger import UNTIL_BACK, Fault, Ledger
from tests.chaos.oracle import Judgement, Remains, judge

NOTHING = Remains(failed={}, pending={}, waiting={"q": 0})
FAR = 1000.0
"""Seconds: long after everything."""


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path / "ledger")
    yield made
    made.close()


@pytest.fixture
def write(ledger: Ledger) -> Callable[..., None]:
    def lines(*those: str) -> None:
        with ledger.runs_path.open("a") as file:
            file.writelines(f"{line}\n" for line in those)

    return lines


def failed(id_: str, *, hook_pending: bool = False) -> dict[str, FailedJob]:
    return {id_: FailedJob(id_, "q", b"", b"{}", 0.0, 0.0, hook_pending=hook_pending)}


def promises(judgement: Judgement) -> set[str]:
    return {line.partition(":")[0] for line in judgement.broken}


def test_a_run_that_ends_is_done(ledger: Ledger, write: Callable[..., None]) -> None:
    ledger.acknowledge(["a"], "quick")
    write("begin a 1 7 10.0", "end a 1 7 10.1")
    found = judge(ledger, NOTHING)
    assert not found.broken
    assert (found.done, found.runs, found.duplicates) == (1, 1, 0)


def test_a_line_that_a_kill_cut_short_is_no_line(
    ledger: Ledger, write: Callable[..., None]
) -> None:
    ledger.acknowledge(["a"], "quick")
    write("end a 1", "begin a 1 8 11.0", "", "end a 1 8 11.1")
    assert judge(ledger, NOTHING).runs == 1


def test_an_acknowledged_job_that_is_nowhere_is_lost(ledger: Ledger) -> None:
    ledger.acknowledge(["a"])
    assert promises(judge(ledger, NOTHING)) == {"lost"}


def test_a_job_that_began_and_is_nowhere_is_lost(
    ledger: Ledger, write: Callable[..., None]
) -> None:
    ledger.acknowledge(["a"])
    ledger.add(Fault("kill", 10.0, 10.0, frozenset({7})))
    write("begin a 1 7 10.0")
    assert promises(judge(ledger, NOTHING)) == {"lost"}


def test_what_still_waits_is_not_lost_but_not_drained_either(ledger: Ledger) -> None:
    ledger.acknowledge(["a"])
    remains = Remains(failed={}, pending={"a": State.READY}, waiting={"q": 1})
    assert promises(judge(ledger, remains)) == {"not drained"}


def test_what_waits_though_nobody_knows_it_is_not_drained(ledger: Ledger) -> None:
    assert promises(judge(ledger, Remains({}, {}, {"q": 1}))) == {"not drained"}


def test_a_job_in_doubt_may_run_or_not(ledger: Ledger, write: Callable[..., None]) -> None:
    ledger.doubt(["a", "b"])
    write("begin a 1 7 10.0", "end a 1 7 10.1")
    found = judge(ledger, NOTHING)
    assert not found.broken
    assert found.doubted == 2


def test_a_job_that_nobody_enqueued_may_not_run(ledger: Ledger, write: Callable[..., None]) -> None:
    write("begin a 1 7 10.0", "end a 1 7 10.1")
    assert promises(judge(ledger, NOTHING)) == {"ran, though never enqueued"}


def test_a_doubted_job_that_is_acknowledged_later_may_not_be_lost(ledger: Ledger) -> None:
    ledger.doubt(["a"])
    ledger.acknowledge(["a"])
    assert promises(judge(ledger, NOTHING)) == {"lost"}


# what ran again


@pytest.fixture
def again(ledger: Ledger, write: Callable[..., None]) -> Callable[..., Judgement]:
    """Judge a job of two runs, the first one in process 7 from 10 s to 10.1 s."""

    def judged(*faults: Fault, ended: bool = True, second: float = FAR) -> Judgement:
        for fault in faults:
            ledger.add(fault)
        ledger.acknowledge(["a"])
        write("begin a 1 7 10.0", *(["end a 1 7 10.1"] if ended else []))
        write(f"begin a 2 8 {second}", f"end a 2 8 {second}")
        return judge(ledger, NOTHING)

    return judged


def test_a_second_run_without_a_fault_is_groundless(again: Callable[..., Judgement]) -> None:
    assert promises(again()) == {"ran again"}


def test_a_run_cut_short_without_a_fault_is_groundless(again: Callable[..., Judgement]) -> None:
    assert promises(again(ended=False)) == {"ran again"}


def test_the_kill_of_its_worker_is_a_reason(again: Callable[..., Judgement]) -> None:
    found = again(Fault("kill", 10.05, 10.05, frozenset({7})), ended=False)
    assert not found.broken
    assert (found.duplicates, found.unsettled) == (1, 1)


def test_the_kill_of_another_worker_is_none(again: Callable[..., Judgement]) -> None:
    kill = Fault("kill", 10.05, 10.05, frozenset({9}))
    assert promises(again(kill, ended=False)) == {"ran again"}


def test_a_fault_that_hits_no_worker_is_no_reason(again: Callable[..., Judgement]) -> None:
    assert promises(again(Fault("kill the monitor", 10.05, 10.05, frozenset()))) == {"ran again"}


def test_a_kill_after_the_run_was_settled_is_no_reason(again: Callable[..., Judgement]) -> None:
    assert promises(again(Fault("kill", 20.0, 20.0, frozenset({7})))) == {"ran again"}


def test_a_kill_before_the_run_is_no_reason(again: Callable[..., Judgement]) -> None:
    assert promises(again(Fault("kill the server", 9.0, 9.9))) == {"ran again"}


def test_a_settlement_that_waits_for_the_server_can_be_lost_with_its_worker(
    again: Callable[..., Judgement],
) -> None:
    outage = Fault("stop the server", 10.0, 40.0)
    assert not again(outage, Fault("kill", 40.0 + UNTIL_BACK / 2, 45.0, frozenset({7}))).broken


def test_one_fault_is_a_reason_for_one_more_run(
    again: Callable[..., Judgement], write: Callable[..., None]
) -> None:
    write(f"begin a 3 9 {FAR + 1}", f"end a 3 9 {FAR + 1}")
    found = again(Fault("kill", 10.05, 10.05, frozenset({7})), ended=False)
    assert promises(found) == {"ran again"}
    assert found.duplicates > found.unsettled


def test_a_retry_after_an_error_is_no_duplicate(ledger: Ledger, write: Callable[..., None]) -> None:
    ledger.acknowledge(["a"], "flaky")
    write("begin a 1 7 10.0", "error a 1 7 10.1", "begin a 2 8 11.0", "end a 2 8 11.1")
    found = judge(ledger, NOTHING)
    assert not found.broken
    assert found.duplicates == 0


def test_a_run_that_raised_may_not_be_repeated_before_it_is_settled(
    ledger: Ledger, write: Callable[..., None]
) -> None:
    ledger.acknowledge(["a"], "flaky")
    write("begin a 1 7 10.0", "error a 1 7 10.1", "begin a 1 8 11.0", "error a 1 8 11.1")
    write("begin a 2 8 12.0", "end a 2 8 12.1")
    assert promises(judge(ledger, NOTHING)) == {"ran again"}


@pytest.mark.parametrize("word", ["dies", "overruns"])
def test_a_job_that_ends_its_worker_is_a_fault_for_its_neighbours(
    ledger: Ledger, write: Callable[..., None], word: str
) -> None:
    ledger.acknowledge(["a", "b", "c"])
    write("begin a 1 7 10.0", "begin b 1 7 10.0", "begin c 1 8 10.0", f"{word} a 1 7 10.05")
    write("begin a 2 9 11.0", "end a 2 9 11.1", "begin b 2 9 11.0", "end b 2 9 11.1")
    assert not [line for line in judge(ledger, NOTHING).broken if not line.startswith("lost: c")]
    write("begin c 2 9 11.0", "end c 2 9 11.1")  # it ran elsewhere
    assert promises(judge(ledger, NOTHING)) == {"ran again"}


def test_a_job_that_overruns_excuses_nothing_once_its_worker_must_be_gone(
    ledger: Ledger, write: Callable[..., None]
) -> None:
    ledger.acknowledge(["a"])
    write("overruns z 1 7 10.0", f"begin a 1 7 {FAR}")
    write(f"begin a 2 9 {FAR + 1}", f"end a 2 9 {FAR + 2}")
    assert "ran again" in promises(judge(ledger, NOTHING))


# how it ended


def test_a_job_that_is_well_may_not_fail(ledger: Ledger, write: Callable[..., None]) -> None:
    ledger.acknowledge(["a"], "sleeps")
    write("begin a 1 7 10.0")
    ledger.add(Fault("kill", 10.05, 10.05, frozenset({7})))
    remains = dataclasses.replace(NOTHING, failed=failed("a"))
    assert promises(judge(ledger, remains)) == {"failed without fault"}


def test_three_crashes_may_fail_a_job_that_is_well(
    ledger: Ledger, write: Callable[..., None]
) -> None:
    ledger.acknowledge(["a"], "sleeps")
    for run in (1, 2, 3):
        write(f"begin a {run} {run} {10 * run}.0")
        ledger.add(Fault("kill", 10 * run + 0.5, 10 * run + 0.5, frozenset({run})))
    assert not judge(ledger, dataclasses.replace(NOTHING, failed=failed("a"))).broken


def test_a_job_that_can_only_fail_may_not_succeed(
    ledger: Ledger, write: Callable[..., None]
) -> None:
    ledger.acknowledge(["a"], "poison")
    write("begin a 1 7 10.0", "end a 1 7 10.1")
    assert promises(judge(ledger, NOTHING)) == {"succeeded, though it never can"}


def test_a_failed_hook_that_was_not_called_is_missed(
    ledger: Ledger, write: Callable[..., None]
) -> None:
    ledger.acknowledge(["a"], "fails")
    write("begin a 1 7 10.0", "error a 1 7 10.1")
    remains = dataclasses.replace(NOTHING, failed=failed("a"))
    assert promises(judge(ledger, remains)) == {"failed() was not called"}
    write("hook a 1 7 10.2")
    assert not judge(ledger, remains).broken


def test_a_failed_hook_that_is_still_to_come_is_not_missed(
    ledger: Ledger, write: Callable[..., None]
) -> None:
    ledger.acknowledge(["a"], "fails")
    write("begin a 1 7 10.0", "error a 1 7 10.1")
    remains = dataclasses.replace(NOTHING, failed=failed("a", hook_pending=True))
    assert not judge(ledger, remains).broken
