"""PostgreSQL's plans: what a verb costs must not depend on how many jobs wait."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from queued.drivers.base import NewJob
from queued.drivers.sql.enqueue import enqueue
from queued.drivers.sql.postgresql_dialect import DIALECT
from queued.drivers.sql.postgresql_server import PostgresqlServer
from tests.contract.backends import unavailable
from tests.contract.postgresql import FAST, program, running_postgresql
from tests.contract.steps import Q, names
from tests.contract.test_sql_statements import GO_THROUGH_ALL, STATEMENTS

TEXTS = {"queue", "owner", "id", "by", "reason"}
ARRAYS = {"rows", "ids", "seqs", "names"}


@pytest.fixture(scope="module", params=["new", "analysed"])
def connection(request: pytest.FixtureRequest) -> Iterator[psycopg.Connection[Any]]:
    """A driver's own connection to a backlog of which statistics know nothing yet, or all."""
    if program("postgres") is None:
        unavailable("PostgreSQL is not installed")
    with running_postgresql(*FAST, "autovacuum=off") as postgres:
        server = PostgresqlServer(postgres.url)
        for batch in range(20):
            jobs = [NewJob(name, b"x") for name in names(1000, f"batch-{batch}")]
            assert all(server.write(Q, lambda s, j=jobs: enqueue(s, Q, j)))  # type: ignore[misc]
        assert server._connection is not None
        if request.param == "analysed":
            server._connection.execute("ANALYZE")
        yield server._connection
        server.close()


def value(name: str) -> object:
    if name in TEXTS:
        return Q
    if name in ARRAYS:
        return "[]"
    return b"" if name in {"blob", "record"} else 1


@pytest.mark.parametrize("name", sorted(set(STATEMENTS) - GO_THROUGH_ALL))
def test_no_statement_goes_through_a_table(connection: psycopg.Connection[Any], name: str) -> None:
    text, fixed = STATEMENTS[name].compiled(DIALECT)
    parameters = {key: value(key) for key in re.findall(r"%\((\w+)\)s", text)} | fixed
    explain: Any = f"EXPLAIN (FORMAT JSON) {text}"
    [plan] = connection.execute(explain, parameters).fetchone() or [None]
    steps = list(nodes(plan[0]["Plan"]))
    scans = [s for s in steps if s.get("Relation Name") in {"queued_jobs", "queued_payloads"}]
    through = [step for step in scans if "Scan" in step["Node Type"] and "Index Cond" not in step]
    assert not through, json.dumps(plan, indent=1)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)
