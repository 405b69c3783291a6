"""How PostgreSQL says what ``sets`` asks for."""

from __future__ import annotations

from typing import Any

from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from queued.drivers.sql.sets import (
    HISTORY_LIMIT,
    Among,
    Appended,
    ArrayItem,
    ArrayMember,
    ArrayRows,
    Packed,
)

DIALECT = PGDialect_psycopg()  # type: ignore[no-untyped-call]


def _cast(text: str, element: ArrayItem | ArrayMember, compiler: SQLCompiler) -> str:
    return f"CAST({text} AS {compiler.dialect.type_compiler_instance.process(element.type)})"


@compiles(ArrayRows, "postgresql")
def _array_rows(element: ArrayRows, compiler: SQLCompiler, **options: Any) -> str:
    return f"jsonb_array_elements(CAST({compiler.process(element.clauses, **options)} AS JSONB))"


@compiles(ArrayItem, "postgresql")
def _array_item(element: ArrayItem, compiler: SQLCompiler, **options: Any) -> str:
    row = compiler.process(element.row, **options)
    return _cast(f"{row} ->> {element.index}", element, compiler)


@compiles(ArrayMember, "postgresql")
def _array_member(element: ArrayMember, compiler: SQLCompiler, **options: Any) -> str:
    row = compiler.process(element.row, **options)
    return _cast(f"{row} #>> '{{}}'", element, compiler)


@compiles(Among, "postgresql")
def _among(element: Among, compiler: SQLCompiler, **options: Any) -> str:
    column = compiler.process(element.column, **options)
    members = compiler.process(element.members, **options)
    return f"{column} = ANY(ARRAY{members})"


@compiles(Packed, "postgresql")
def _packed(element: Packed, compiler: SQLCompiler, **options: Any) -> str:
    columns = compiler.process(element.clauses, **options)
    return f"CAST(coalesce(json_agg(json_build_array({columns})), '[]') AS TEXT)"


@compiles(Appended, "postgresql")
def _appended(element: Appended, compiler: SQLCompiler, **options: Any) -> str:
    history, note = (compiler.process(clause, **options) for clause in element.clauses)
    line_end = r"'\x0a'::bytea"
    whole = f"(coalesce({history}, ''::bytea) || {note} || {line_end})"
    tail = f"substr({whole}, length({whole}) - {HISTORY_LIMIT - 1})"
    return (
        f"CASE WHEN length({whole}) <= {HISTORY_LIMIT} THEN {whole} "
        f"ELSE substr({tail}, position({line_end} in {tail}) + 1) END"
    )
