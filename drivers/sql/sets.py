"""Rows that cross into SQL and back in sets, so that a verb is a fixed number of statements.

A DBAPI module gives up the GIL around every step of a statement, and a thread that computes keeps
it for milliseconds each time, while the transaction holds the database's write lock. Row by row, a
bulk of 1,000 held the lock for twelve seconds beside one busy thread; in sets for 26 ms. So rows go
in as one JSON array (``given``, ``members``), bytes as one blob with the places where to cut it
(``sliced``, ``cut``), and rows that a verb decides by come out as one JSON array (``packed``).

How these are said in SQL is the dialect's: it registers a compiler for each construct.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import (
    BindParameter,
    Boolean,
    Column,
    ColumnElement,
    LargeBinary,
    Select,
    String,
    Subquery,
    TableValuedAlias,
    bindparam,
    func,
    select,
)
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

Scalar = str | int | float | None

HISTORY_LIMIT = 65_536
"""How many bytes of notes a job keeps; the oldest go first."""

MAX_BLOB = 8 << 20  # bytes that one statement takes, unless a single row has more


class ArrayRows(FunctionElement[Any]):
    """A table of one column ``value``: the elements of a JSON array."""

    name = "array_rows"
    inherit_cache = True


class ArrayItem(ColumnElement[Any]):
    """One element of a JSON array that is a row's ``value``."""

    inherit_cache = False

    def __init__(self, row: ColumnElement[Any], index: int, type_: type[TypeEngine[Any]]) -> None:
        self.row, self.index, self.type = row, index, type_()


class ArrayMember(ColumnElement[Any]):
    """A row's ``value`` itself, a text or a number."""

    inherit_cache = False

    def __init__(self, row: ColumnElement[Any], type_: type[TypeEngine[Any]]) -> None:
        self.row, self.type = row, type_()


class Among(ColumnElement[bool]):
    """Whether a column's value is among the members, which are looked up in the column's index."""

    inherit_cache = False
    type = Boolean()

    def __init__(self, column: ColumnElement[Any], members: ColumnElement[Any]) -> None:
        self.column, self.members = column, members

    def self_group(self, against: object = None) -> Among:  # noqa: ARG002 - as in ColumnElement
        """Stand alone: SQLite would else be asked for ``= 1``, and use no index."""
        return self


class Packed(FunctionElement[str]):
    """All rows, each as the array of the given columns, in one JSON array."""

    name = "packed"
    type = String()
    inherit_cache = True


class Appended(FunctionElement[bytes]):
    """A history with a note and a line end added, cut to ``HISTORY_LIMIT`` at a line's start."""

    name = "appended"
    type = LargeBinary()
    inherit_cache = True


def parameter(name: str, type_: type[TypeEngine[Any]] | None = None) -> BindParameter[Any]:
    """Return a named parameter; its type is that of the column beside it, unless there is none."""
    return bindparam(name, type_=None if type_ is None else type_())


def _elements(name: str) -> TableValuedAlias:
    return ArrayRows(parameter(name, String)).table_valued("value", name=f"{name}_array")


def given(name: str, **columns: type[TypeEngine[Any]]) -> Subquery:
    """Return the rows bound as the parameter ``name``, a list of lists, as a table."""
    elements = _elements(name)
    items = [
        ArrayItem(elements.c.value, index, type_).label(column)
        for index, (column, type_) in enumerate(columns.items())
    ]
    return select(*items).select_from(elements).subquery("given")


def among(
    column: ColumnElement[Any], name: str, type_: type[TypeEngine[Any]] = String
) -> ColumnElement[bool]:
    """Ask whether a column's value is among those bound as the parameter ``name``, a list."""
    elements = _elements(name)
    members = select(ArrayMember(elements.c.value, type_)).select_from(elements)
    return Among(column, members.scalar_subquery())


def packed(*columns: Column[Any] | ColumnElement[Any]) -> Select[tuple[str]]:
    """Select rows as one JSON array; read by ``Session.packed``."""
    return select(Packed(*columns))


def cut(rows: Subquery) -> ColumnElement[bytes]:
    """Return the bytes of a row of ``sliced``: its ``start`` and ``length`` in the blob."""
    return func.substr(
        parameter("blob", LargeBinary), rows.c.start, rows.c.length, type_=LargeBinary()
    )


def sliced(
    rows: Iterable[tuple[Sequence[Scalar], bytes]],
) -> Iterator[dict[str, Any]]:
    """Yield parameters ``rows`` and ``blob`` for as many statements as the bytes need.

    To each row its ``start`` and ``length`` are appended. No blob is empty, because SQLite cuts
    NULL out of one that is.
    """
    placed: list[list[Scalar]] = []
    parts: list[bytes] = []
    size = 0
    for row, part in rows:
        if placed and size + len(part) > MAX_BLOB:
            yield {"rows": placed, "blob": b"".join((*parts, b"\0"))}
            placed, parts, size = [], [], 0
        placed.append([*row, size + 1, len(part)])
        parts.append(part)
        size += len(part)
    if placed:
        yield {"rows": placed, "blob": b"".join((*parts, b"\0"))}
