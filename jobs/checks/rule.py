"""What a rule is, what it notes, and what comes of that."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from queued.jobs.checks.source import Module
    from queued.jobs.checks.subject import Subject


class Level(StrEnum):
    """What a rule says of a class. ``UNKNOWN``: its source cannot be read."""

    PASS = "pass"  # noqa: S105 - no password
    WARNING = "warning"
    ERROR = "error"
    IGNORED = "ignored"
    UNKNOWN = "unknown"


class Place(NamedTuple):
    """Where something stands; ``end`` is its last line."""

    module: Module | None
    line: int | None
    end: int | None = None

    @classmethod
    def of(cls, module: Module, node: ast.stmt | ast.expr) -> Place:
        return cls(module, node.lineno, node.end_lineno)


class Note(NamedTuple):
    """What a rule has noticed: why it matters, and what to write instead.

    Without a place, it is about the class as a whole.
    """

    reason: str
    fix: str
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One practice, and the function that notices when it is not followed."""

    id: str
    level: Level
    practice: str
    """Its number in the guide, or the letter of an anti-pattern."""
    title: str
    """What holds for a class that passes."""
    look: Callable[[Subject], Iterable[Note]]
    reads_source: bool = False
    """Whether it has nothing to say of a class whose source cannot be read."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule says of one class (or, without a class, of a module)."""

    rule: str
    level: Level
    practice: str
    reason: str
    fix: str | None = None
    file: str | None = None
    line: int | None = None
