"""A Job class as the rules see it: the class itself, and its source and that of its bases."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from queued.jobs.checks.functions import as_class
from queued.jobs.checks.rule import Place
from queued.jobs.checks.source import FUNCTIONS, Function, Module, read
from queued.jobs.job import Job


@dataclass(frozen=True, slots=True)
class Part:
    """The source of a class, or of a base of it."""

    cls: type
    module: Module
    node: ast.ClassDef

    @property
    def header(self) -> range:
        """The lines from its first decorator to the colon."""
        first = min([self.node.lineno, *(node.lineno for node in self.node.decorator_list)])
        return range(first, max(self.node.lineno + 1, self.node.body[0].lineno))

    def methods(self) -> Iterator[Function]:
        """Yield the methods that hold: of those of one name, the last."""
        found = {node.name: node for node in self.node.body if isinstance(node, FUNCTIONS)}
        yield from found.values()

    def assignments(self) -> Iterator[tuple[str, ast.expr | None, ast.Assign | ast.AnnAssign]]:
        """Yield the name, the value and the statement of what the class body assigns."""
        for node in self.node.body:
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        yield target.id, node.value, node
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                yield node.target.id, node.value, node


@dataclass(frozen=True, slots=True)
class PoolTimeout:
    """The timeout of the pool that serves a class. ``seconds`` of None: no limit."""

    seconds: float | None
    source: str | None
    """Who says it, such as ``queues.emails.timeout``; None: nobody, it is built in."""


class Subject:
    """One Job class, and what holds for it on its queue."""

    def __init__(self, cls: type[Job], pool_timeout: PoolTimeout) -> None:
        self.cls = cls
        self.name = cls.__name__
        self.pool_timeout = pool_timeout

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The class and its bases below Job, in the order in which Python looks things up."""
        bases = [base for base in self.cls.__mro__ if base not in Job.__mro__]
        return tuple(filter(None, map(_part, bases)))

    @cached_property
    def own(self) -> Part | None:
        """The source of the class itself, if it can be read."""
        return next((part for part in self.parts if part.cls is self.cls), None)

    @property
    def place(self) -> Place:
        """Where the class is defined."""
        if self.own is None:
            return Place(read(self.cls.__module__), None)
        return Place(self.own.module, self.own.node.lineno, self.own.node.lineno)

    def methods(self) -> Iterator[tuple[Part, Function]]:
        """Yield the methods written in the class and its bases, overridden ones too.

        ``super()`` may reach those.
        """
        for part in self.parts:
            for method in part.methods():
                yield part, method

    def method(self, name: str) -> tuple[Part, Function] | None:
        """Return a method as Python finds it; None if its source is not here."""
        return next(((part, m) for part, m in self.methods() if m.name == name), None)


def _part(cls: type) -> Part | None:
    module = read(cls.__module__)
    if module is None:
        return None
    function = cls.__dict__.get("__function__")
    if function is not None:
        found = module.find_function(cls.__qualname__, function.__code__.co_firstlineno)
        return Part(cls, module, as_class(found)) if found is not None else None
    line = cls.__dict__.get("__firstlineno__")
    node = module.find_class(cls.__qualname__, line)
    return Part(cls, module, node) if node is not None else None
