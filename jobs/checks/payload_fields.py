"""What a job carries: its annotated fields, and what untyped jobs set or read on themselves."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any, NamedTuple

from queued.errors import JobDefinitionError
from queued.jobs.checks.calls import body
from queued.jobs.checks.rule import Place
from queued.jobs.checks.subject import Part, Subject
from queued.jobs.definition import RESERVED


class Field(NamedTuple):
    """One attribute of the payload."""

    name: str
    kind: Any
    """Its type, if it is annotated; else None."""
    value: ast.expr | None
    """What it is set to in the source."""
    part: Part | None
    place: Place | None


def declared(subject: Subject) -> Iterator[Field]:
    """Yield the fields that are annotated, and those that an untyped job sets in ``__init__``."""
    fields = subject.cls.__queued__.fields
    kinds = _kinds(subject)
    stated: dict[str, Field] = {}
    for part in reversed(subject.parts):
        for name, value, statement in part.assignments():
            is_default = isinstance(statement, ast.Assign) and _is_data(subject, name)
            if name in fields or is_default:
                place = Place.of(part.module, statement)
                stated[name] = Field(name, kinds.get(name), value, part, place)
    for name in fields:
        stated.setdefault(name, Field(name, kinds.get(name), None, None, None))
    if not subject.cls.__queued__.typed:
        for field in _set_in_init(subject):
            stated.setdefault(field.name, field)
    yield from stated.values()


def undeclared(subject: Subject) -> Iterator[Field]:
    """Yield the attributes that an untyped job reads and that somebody else must have set."""
    if subject.cls.__queued__.typed:
        return
    known = {field.name for field in declared(subject)}
    for part, method in subject.methods():
        for node in body(method):
            name = _of_self(node)
            if name is None or name in known or hasattr(subject.cls, name):
                continue
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                known.add(name)
                if _is_public(name):
                    yield Field(name, None, None, part, Place.of(part.module, node))


def _kinds(subject: Subject) -> dict[str, Any]:
    from queued.jobs.annotations import field_types  # noqa: PLC0415 - loads pydantic

    try:
        return field_types(subject.cls)
    except JobDefinitionError:  # the rule on types tells of it
        return {}


def _is_data(subject: Subject, name: str) -> bool:
    """Say whether a plain class attribute is the default of a payload's."""
    typed = subject.cls.__queued__.typed
    value = subject.cls.__dict__.get(name)
    is_plain = value is None or isinstance(value, str | bytes | int | float | list | dict)
    return not typed and is_plain and _is_public(name) and not name.isupper()


def _set_in_init(subject: Subject) -> Iterator[Field]:
    for part, method in subject.methods():
        if method.name != "__init__":
            continue
        for node in body(method):
            targets: list[ast.expr] = []
            value = None
            if isinstance(node, ast.Assign):
                targets, value = node.targets, node.value
            elif isinstance(node, ast.AnnAssign):
                targets, value = [node.target], node.value
            for target in targets:
                name = _of_self(target)
                if name and _is_public(name):
                    yield Field(name, None, value, part, Place.of(part.module, target))


def _of_self(node: ast.AST) -> str | None:
    match node:
        case ast.Attribute(value=ast.Name(id="self"), attr=name):
            return name
    return None


def _is_public(name: str) -> bool:
    return not name.startswith("_") and name not in RESERVED
