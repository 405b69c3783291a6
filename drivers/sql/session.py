"""A verb's view of the database: statements in, rows out, the transaction's one ``now``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

from sqlalchemy import ClauseElement
from sqlalchemy.engine.interfaces import Dialect

_dumps = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class Statement:
    """A statement of Core, compiled to text once per dialect and process.

    Core describes and translates, but does not run it: an exchange took 1.7 ms through Core's
    execution, 0.8 through the DBAPI. Its parameters are named, and bound when it runs.
    """

    def __init__(self, clause: ClauseElement) -> None:
        self.clause = clause
        self._compiled: dict[str, tuple[str, dict[str, Any]]] = {}

    def compiled(self, dialect: Dialect) -> tuple[str, dict[str, Any]]:
        """Return the text, and the parameters that have their values already."""
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            made = self.clause.compile(dialect=dialect)
            fixed = {name: value for name, value in made.params.items() if value is not None}
            compiled = self._compiled[dialect.name] = str(made), fixed
        return compiled


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

    ``news``, set by what a verb did: idle workers should look. A file tells them by itself.
    A parameter that is a list is bound as a JSON array (see ``sets``).
    """

    def __init__(self, connection: Connection, dialect: Dialect, now: float) -> None:
        self.now = now
        self.news = False
        self._execute = connection.execute
        self._dialect = dialect

    def _run(self, statement: Statement, parameters: dict[str, Any]) -> Cursor:
        for name, value in parameters.items():
            if type(value) is list:
                parameters[name] = _dumps(value)
        text, fixed = statement.compiled(self._dialect)
        return self._execute(text, parameters | fixed if fixed else parameters)

    def run(self, statement: Statement, **parameters: Any) -> int:
        """Change rows; return how many."""
        return self._run(statement, parameters).rowcount

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
