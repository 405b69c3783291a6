"""What the statements are made of: plans that stay flat, a fixed number of them, exact bytes."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from queued.drivers.base import Fail, Lane, NewJob, Reservation, Retry
from queued.drivers.sql import (
    enqueue,
    exchange,
    failures,
    ledger,
    operators,
    owners,
    pauses,
    promote,
    settle,
    unique,
)
from queued.drivers.sql.exchange import Wanted
from queued.drivers.sql.session import Session, Statement
from queued.drivers.sql.sets import HISTORY_LIMIT, MAX_BLOB, sliced
from queued.drivers.sql.sqlite_dialect import DIALECT
from queued.drivers.sql.sqlite_file import SqliteFile
from tests.contract.steps import ME, Q, ack, fail, names, notes, release, retry

MODULES = [enqueue, exchange, failures, ledger, operators, owners]
MODULES += [pauses, promote, settle, unique]
STATEMENTS = {
    f"{module.__name__.rpartition('.')[2]}.{name}": value
    for module in MODULES
    for name, value in vars(module).items()
    if isinstance(value, Statement)
}
GO_THROUGH_ALL = {"operators.QUEUES"}  # a row for each queue is what it returns


@pytest.fixture
def file(tmp_path: Path) -> Iterator[SqliteFile]:
    file = SqliteFile(tmp_path / "queued.db")
    file.connect()
    yield file
    file.close()


def connection_of(file: SqliteFile) -> sqlite3.Connection:
    assert file._connection is not None
    return file._connection


@pytest.mark.parametrize("name", sorted(STATEMENTS))
def test_no_statement_goes_through_a_table(file: SqliteFile, name: str) -> None:
    """Every step finds its rows through an index, and sorts no more than one verb moves."""
    text, fixed = STATEMENTS[name].compiled(DIALECT)
    parameters = dict.fromkeys(re.findall(r":(\w+)", text), "[]") | fixed
    plan = connection_of(file).execute(f"EXPLAIN QUERY PLAN {text}", parameters).fetchall()
    steps = [step for *_, step in plan]
    through = [s for s in steps if s.startswith("SCAN") and "queued_" in s]
    assert name in GO_THROUGH_ALL or not through
    assert not [s for s in steps if "AUTOMATIC" in s]


def reserved(file: SqliteFile, want: int, *settlements: Any) -> list[Reservation]:
    wanted = Wanted(want, 0, 30.0, Lane.NORMAL)
    answer = file.write(lambda s: exchange.exchange(s, Q, ME, settlements, wanted))
    assert answer is not None
    return answer.jobs


def pushed(file: SqliteFile, count: int, prefix: str = "job", payload: bytes = b"x") -> None:
    batch = [NewJob(name, payload) for name in names(count, prefix)]
    assert all(file.write(lambda s: enqueue.enqueue(s, Q, batch)))


def statements_of(file: SqliteFile, act: Any) -> list[str]:
    """The statements that run while the write lock is held."""
    traced: list[str] = []
    connection_of(file).set_trace_callback(traced.append)
    act()
    connection_of(file).set_trace_callback(None)
    assert traced[0] == "BEGIN IMMEDIATE"
    return traced[1 : traced.index("COMMIT")]


@pytest.mark.parametrize("verb", ["enqueue", "ack", "retry", "release", "fail", "requeue"])
def test_a_verb_takes_as_many_statements_for_many_jobs_as_for_one(
    file: SqliteFile, verb: str
) -> None:
    """A thread that computes beside it delays each of them, and all other writers."""
    counts = []
    for number, size in enumerate((1, 500)):
        prefix = f"{verb}-{number}"
        if verb == "enqueue":
            run = statements_of(file, lambda s=size, p=prefix: pushed(file, s, p))
        else:
            pushed(file, size, prefix)
            held = reserved(file, size)
            assert len(held) == size
            settlements = [_settlement(verb, job) for job in held]
            run = statements_of(file, lambda st=settlements: reserved(file, 0, *st))
        if verb == "requeue":
            ids = [job.id for job in held]
            run = statements_of(file, lambda i=ids: file.write(lambda s: failures.requeue(s, Q, i)))
        counts.append(len(run))
        reserved(file, 0, *map(ack, reserved(file, 1000)))
    assert counts[0] == counts[1] <= 8


def _settlement(verb: str, job: Reservation) -> Any:
    return {
        "ack": lambda: ack(job),
        "retry": lambda: retry(job, note=b"note"),
        "release": lambda: release(job, note=b"note"),
    }.get(verb, lambda: fail(job, note=b"note"))()


def test_an_idle_worker_writes_nothing(file: SqliteFile) -> None:
    """Else its look would wake the others, and their looks it."""
    reserved(file, 10)  # registers the owner
    before = connection_of(file).total_changes
    assert reserved(file, 10) == []
    file.write(lambda s: promote.promote_due(s, Q, 1000))
    assert connection_of(file).total_changes == before


def test_a_ledger_is_created_once_and_written_when_it_changed(file: SqliteFile) -> None:
    pushed(file, 3)
    before = connection_of(file).total_changes

    def look(session: Session) -> None:
        found = ledger.Ledger.read(session, Q)
        assert found is not None
        assert (found.ready, found.enqueued_total) == (3, 3)
        found.write(session)

    file.write(look)
    assert connection_of(file).total_changes == before


def test_bytes_are_sliced_so_that_no_statement_takes_too_many() -> None:
    parts = [b"", b"a" * (MAX_BLOB - 1), b"b", b"c" * (2 * MAX_BLOB), b"", b"d"]
    sets = list(sliced(([number], part) for number, part in enumerate(parts)))
    assert [[row[0] for row in each["rows"]] for each in sets] == [[0, 1, 2], [3], [4, 5]]
    cut = [each["blob"][start - 1 : start - 1 + n] for each in sets for _, start, n in each["rows"]]
    assert cut == parts
    assert list(sliced([])) == []


def test_a_batch_larger_than_one_statement_takes_is_still_one_step(file: SqliteFile) -> None:
    pushed(file, 20, payload=b"x" * (MAX_BLOB // 8))
    held = reserved(file, 20)
    assert {len(job.payload) for job in held} == {MAX_BLOB // 8}


def test_a_history_keeps_the_newest_whole_notes(file: SqliteFile) -> None:
    pushed(file, 1)
    written = [f"{number:04}".encode() * 125 for number in range(200)]
    for note in written:
        [held] = reserved(file, 1)
        reserved(file, 0, retry(held, note=note))
    [held] = reserved(file, 1)
    kept = notes(held.history)
    assert len(held.history) <= HISTORY_LIMIT < len(held.history) + 502
    assert kept == written[-len(kept) :]


def test_a_long_retired_owner_is_forgotten_when_it_holds_nothing(file: SqliteFile) -> None:
    pushed(file, 1)
    [held] = reserved(file, 1)
    file.write(lambda s: owners.retire(s, Q, ME, only_expired=False))
    file.write(lambda s: owners.renew(s, Q, ["lost"], 30.0))

    def known() -> list[str]:
        rows = connection_of(file).execute("SELECT owner FROM queued_owners").fetchall()
        return sorted(owner for (owner,) in rows)

    def hours_pass(session: Session) -> None:
        session.now += 2 * owners.FORGET_AFTER
        owners.renew(session, Q, ["alive"], 30.0)

    file.write(hours_pass)
    assert known() == [ME, "alive"]
    reserved(file, 0, ack(held))
    file.write(hours_pass)
    assert known() == ["alive"]


def test_a_settlement_with_a_stale_fence_leaves_the_good_one_beside_it(file: SqliteFile) -> None:
    pushed(file, 1)
    [held] = reserved(file, 1)
    stale = Fail(held.id, held.fence - 1, Retry(held.id, 0, 0, "none").charge, b"")  # type: ignore[arg-type]
    answer = file.write(
        lambda s: exchange.exchange(s, Q, ME, [stale, ack(held)], Wanted(0, 0, 30.0, Lane.NORMAL))
    )
    assert answer is not None
    assert answer.lost == [held.id]
    assert file.read(lambda s: operators.find(s, held.id, Q)) is None
