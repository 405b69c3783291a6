"""The failed jobs by plain SQL: the queries of docs/failed-jobs.md, run by the database itself."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from queued.drivers.base import Counts, Driver, FailedJob

sql = pytest.mark.parametrize("clean_url", ["sqlite", "postgresql"], indirect=True, scope="session")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "failed-jobs.md"
QUERIES = re.findall(r"^```sql\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
AT = 1_767_225_600.25  # 2026-01-01 00:00:00.250 UTC

Ask = Callable[[str], list[dict[str, Any]]]


@pytest.fixture
def ask(url: str, driver: Driver) -> Ask:  # the driver makes the view
    def asked(query: str) -> list[dict[str, Any]]:
        if url.startswith("sqlite"):
            with sqlite3.connect(url.removeprefix("sqlite:///")) as file:
                cursor: Any = file.execute(query)
                return rows(cursor)
        with psycopg.connect(url) as server:
            return rows(server.execute(query))  # type: ignore[arg-type]

    def rows(cursor: Any) -> list[dict[str, Any]]:
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    return asked


async def store(driver: Driver) -> None:
    record = {
        "error": 'ValueError: näh "x"',
        "type": "builtins.ValueError",
        "traceback": "Traceback\n  line",
        "worker": "emails/1",
        "job": "app.SendEmail",
        "reason": "max_tries",
    }
    raw = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()
    counts = Counts(errors=2, timeouts=1, crashes=4)
    jobs = [
        FailedJob("one", "emails", b"\xff", raw, AT, AT - 60, counts),
        FailedJob("two", "emails", b"", b"not json", AT + 1, AT),
        FailedJob("three", "emails", b"", b"\xff\x00", AT + 2, AT),
    ]
    assert await driver.restore("emails", jobs) == [True] * 3


@sql
async def test_the_view_has_columns_for_people(driver: Driver, ask: Ask) -> None:
    await store(driver)
    one, two, three = ask("SELECT * FROM queued_failed_jobs ORDER BY failed_at")
    assert one == {
        "id": "one",
        "queue": "emails",
        "job": "app.SendEmail",
        "error": 'ValueError: näh "x"',
        "type": "builtins.ValueError",
        "reason": "max_tries",
        "worker": "emails/1",
        "traceback": "Traceback\n  line",
        "tries": 3,
        "failed_at": "2026-01-01 00:00:00.250",
        "enqueued_at": "2025-12-31 23:59:00.250",
    }
    assert (two["job"], two["error"]) == (None, b"not json".hex())
    assert (three["job"], three["error"]) == (None, "ff00")


@sql
@pytest.mark.parametrize("query", QUERIES)
async def test_a_documented_query(driver: Driver, ask: Ask, url: str, query: str) -> None:
    if "-- PostgreSQL" in query and url.startswith("sqlite"):
        return
    if "-- SQLite" in query and not url.startswith("sqlite"):
        return
    await store(driver)
    assert ask(query)


def test_there_are_documented_queries() -> None:
    assert len(QUERIES) >= 3
