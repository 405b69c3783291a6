"""How SQLite says what ``sets`` asks for."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.dialects import sqlite
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

DIALECT = sqlite.dialect(paramstyle="named")


@compiles(BigInteger, "sqlite")
def _big_integer(_element: BigInteger, _compiler: Any, **_options: Any) -> str:
    return "INTEGER"  # the only name under which a primary key is the row id


@compiles(ArrayRows, "sqlite")
def _array_rows(element: ArrayRows, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **options)})"


@compiles(ArrayItem, "sqlite")
def _array_item(element: ArrayItem, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_extract({compiler.process(element.row, **options)}, '$[{element.index}]')"


@compiles(ArrayMember, "sqlite")
def _array_member(element: ArrayMember, compiler: SQLCompiler, **options: Any) -> str:
    return str(compiler.process(element.row, **options))


@compiles(Among, "sqlite")
def _among(element: Among, compiler: SQLCompiler, **options: Any) -> str:
    column = compiler.process(element.column, **options)
    members = compiler.process(element.members, **options)
    return f"{column} IN {members}"


@compiles(Packed, "sqlite")
def _packed(element: Packed, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_group_array(json_array({compiler.process(element.clauses, **options)}))"


@compiles(Appended, "sqlite")
def _appended(element: Appended, compiler: SQLCompiler, **options: Any) -> str:
    history, note = (compiler.process(clause, **options) for clause in element.clauses)
    whole = f"CAST(coalesce({history}, x'') || {note} || x'0a' AS BLOB)"
    tail = f"substr({whole}, -{HISTORY_LIMIT})"
    return (
        f"CASE WHEN length({whole}) <= {HISTORY_LIMIT} THEN {whole} "
        f"ELSE substr({tail}, instr({tail}, x'0a') + 1) END"
    )
