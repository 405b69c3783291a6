"""What people may read with SQL of their own: the failed jobs, in columns for people.

The tables are ours to change; this view is a promise (docs/failed-jobs.md). Records are JSON as
``queued.jobs.records.record`` writes it, and whatever else is stored as one is shown in
hexadecimal: a view must not fail for one row. Times are UTC.
"""

from __future__ import annotations

_COLUMNS = ("job", "error", "type", "reason", "worker", "traceback")

_SQLITE_RECORD = "CAST(f.record AS TEXT)"
_SQLITE = """
CREATE VIEW IF NOT EXISTS queued_failed_jobs AS
SELECT f.id, f.queue, {columns}, j.errors + j.timeouts AS tries,
  strftime('%Y-%m-%d %H:%M:%f', f.failed_at, 'unixepoch') AS failed_at,
  strftime('%Y-%m-%d %H:%M:%f', j.enqueued_at, 'unixepoch') AS enqueued_at
FROM queued_failed f JOIN queued_jobs j ON j.seq = f.seq
"""

_POSTGRESQL = """
CREATE OR REPLACE VIEW queued_failed_jobs AS
SELECT f.id, f.queue, {columns}, j.errors + j.timeouts AS tries,
  to_char(to_timestamp(f.failed_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS') AS failed_at,
  to_char(to_timestamp(j.enqueued_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS')
    AS enqueued_at
FROM queued_failed f JOIN queued_jobs j ON j.seq = f.seq
"""
_POSTGRESQL_IS_OURS = r"substring(f.record FROM 1 FOR 10) = '\x7b226572726f72223a22'::bytea"
"""It begins with {"error":" ."""


def failed_jobs(dialect: str) -> str:
    """Return the statement that makes the view ``queued_failed_jobs``."""
    if dialect == "sqlite":
        return _SQLITE.format(columns=", ".join(map(_in_sqlite, _COLUMNS))).strip()
    return _POSTGRESQL.format(columns=", ".join(map(_in_postgresql, _COLUMNS))).strip()


def _in_sqlite(name: str) -> str:
    otherwise = " ELSE lower(hex(f.record))" if name == "error" else ""
    value = f"json_extract({_SQLITE_RECORD}, '$.{name}')"
    return f"CASE WHEN json_valid({_SQLITE_RECORD}) THEN {value}{otherwise} END AS {name}"


def _in_postgresql(name: str) -> str:
    otherwise = " ELSE encode(f.record, 'hex')" if name == "error" else ""
    value = f"convert_from(f.record, 'UTF8')::json ->> '{name}'"
    return f"CASE WHEN {_POSTGRESQL_IS_OURS} THEN {value}{otherwise} END AS {name}"
