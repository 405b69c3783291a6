"""A verb's view of the database: statements in, rows out, the transaction's one ``now``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from sqlalchemy import ClauseElement
from sqlalchemy.engine.interfaces import Dialect

_dumps = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class Statement:
    """A statement of Core, compiled to text once per dialect and process.

    Core describes and translates, but does not run the statements: through its execution an exchange
    took 1.7 ms, through the DBAPI 0.8. All its parameters are named, and bound when it runs.
    """

    def __init__(self, clause: ClauseElement) -> None:
        self.clause = clause
        self._texts: dict[str, str] = {}

    def text(self, dialect: Dialect) -> str:
        text = self._texts.get(dialect.name)
        if text is None:
            compiled = self.clause.compile(dialect=dialect)
            bound = {name: value for name, value in compiled.params.items() if value is not None}
            assert not bound, f"literals would be lost: {bound}"
            text = self._texts[dialect.name] = str(compiled)
        return text


class Cursor(Protocol):
    """What is used of a DBAPI cursor."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...


class Connection(Protocol):
    """What is used of a DBAPI connection."""

    def execute(self, text: str, parameters: Mapping[str, Any], /) -> Cursor: ...


class Session:
    """One transaction. ``now`` is the back-end's clock, read when the transaction had its lock.

    A parameter that is a list is bound as a JSON array (see ``sets``).
    """

    def __init__(self, connection: Connection, dialect: Dialect, now: float) -> None:
        self.now = now
        self._execute = connection.execute
        self._dialect = dialect

    def _run(self, statement: Statement, parameters: dict[str, Any]) -> Cursor:
        for name, value in parameters.items():
            if type(value) is list:
                parameters[name] = _dumps(value)
        return self._execute(statement.text(self._dialect), parameters)

    def run(self, statement: Statement, **parameters: Any) -> int:
        """Change rows; return how many."""
        return self._run(statement, parameters).rowcount

    def run_each(self, statement: Statement, sets: Iterable[dict[str, Any]]) -> None:
        """Run a statement once for each set of parameters."""
        for parameters in sets:
            self._run(statement, parameters)

    def rows(self, statement: Statement, **parameters: Any) -> list[Any]:
        return self._run(statement, parameters).fetchall()

    def row(self, statement: Statement, **parameters: Any) -> Any:
        """Return the first row of an answer, or None."""
        rows = self._run(statement, parameters).fetchall()
        return rows[0] if rows else None

    def value(self, statement: Statement, **parameters: Any) -> Any:
        """Return the one value of a statement that always has one row."""
        return self._run(statement, parameters).fetchall()[0][0]

    def packed(self, statement: Statement, **parameters: Any) -> list[list[Any]]:
        """Return the rows of a ``packed`` selection."""
        rows: list[list[Any]] = json.loads(self.value(statement, **parameters))
        return rows

    def commit(self) -> None:
        """End the transaction early: what the verb still reads needs no lock."""
        self._execute("COMMIT", {})
