"""Which calls a job's code makes, by the full names of what it calls.

Followed are methods of the job and functions of the same module, where they are called directly:
what is handed to a thread is not called here.
"""

from __future__ import annotations

import ast
import builtins
import inspect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NamedTuple

from queued.jobs.checks.source import FUNCTIONS, Function, Module, imported
from queued.jobs.checks.subject import Part, Subject
from queued.jobs.queue import Queue

_INNER = (*FUNCTIONS, ast.Lambda, ast.ClassDef)
_MOST_FUNCTIONS = 1_000
_LONGEST_CHAIN = 3
"""Of names that stand for one another."""


@dataclass(eq=False, slots=True)
class Scope:
    """A function's names: what it binds itself hides what the module means by them."""

    module: Module
    function: Function
    label: str
    """How messages call the function."""
    bound: set[str] = field(default_factory=set)
    imports: dict[str, str] = field(default_factory=dict)
    inner: dict[str, Function] = field(default_factory=dict)


class Call(NamedTuple):
    """A call that is reached."""

    scope: Scope
    node: ast.Call
    names: tuple[str, ...]
    """What it may be the call of: ``time.sleep``; empty if nobody can tell."""
    awaited: bool
    inside: bool
    """Whether it is a part of something that is awaited, as in ``await gather(one(), two())``."""


def body(function: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that run when a function does, in order: not those of functions inside it."""
    pending = [*reversed(getattr(function, "body", []))]
    while pending:
        node = pending.pop()
        yield node
        if not isinstance(node, _INNER):
            pending += reversed([*ast.iter_child_nodes(node)])


def calls(subject: Subject, entries: Iterable[tuple[Part, Function]]) -> Iterator[Call]:
    """Yield the calls in the given methods and in what they call."""
    seen: set[Function] = set()
    pending = [
        scope_of(part.module, method, f"{part.cls.__name__}.{method.name}")
        for part, method in entries
    ]
    while pending:
        scope = pending.pop(0)
        if scope.function in seen or len(seen) >= _MOST_FUNCTIONS:
            continue
        seen.add(scope.function)
        awaits = [node.value for node in body(scope.function) if isinstance(node, ast.Await)]
        inside = {inner for value in awaits for inner in ast.walk(value)}
        for node in body(scope.function):
            if isinstance(node, ast.Call):
                call = Call(scope, node, names_of(node.func, scope), node in awaits, node in inside)
                yield call
                callee = _callee(subject, node.func, scope)
                if callee is not None and not _is_wrapped(callee.function, call):
                    pending.append(callee)


def scope_of(module: Module, function: Function, label: str, outside: Scope | None = None) -> Scope:
    """Return the names of a function, those of the function around it included."""
    scope = Scope(module, function, label)
    if outside is not None:
        scope.bound |= outside.bound
        scope.imports |= outside.imports
        scope.inner |= outside.inner
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    scope.bound |= {arg.arg for arg in [*every, arguments.vararg, arguments.kwarg] if arg}
    shared: set[str] = set()
    for node in body(function):
        match node:
            case ast.Import() | ast.ImportFrom():
                scope.imports |= imported(node, module.name)
            case ast.Global():
                shared.update(node.names)
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                scope.bound.add(name)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                scope.inner[node.name] = node
            case ast.ClassDef():
                scope.bound.add(node.name)
    scope.bound -= shared | scope.imports.keys() | scope.inner.keys()
    return scope


def names_of(node: ast.expr, scope: Scope) -> tuple[str, ...]:
    """Return the full names that an expression may be known by; ``()`` stands for a call."""
    match node:
        case ast.Name():
            return _names_of_root(node.id, scope)
        case ast.Attribute():
            return tuple(f"{name}.{node.attr}" for name in names_of(node.value, scope))
        case ast.Call():
            return tuple(f"{name}()" for name in names_of(node.func, scope))
        case ast.Await():
            return names_of(node.value, scope)
    return ()


def _names_of_root(name: str, scope: Scope) -> tuple[str, ...]:
    if name in scope.imports:
        return (scope.imports[name],)
    if name in scope.bound or name in scope.inner:
        return ()
    return module_names(name, scope.module)


def module_names(name: str, module: Module, depth: int = 0) -> tuple[str, ...]:
    """Return what a name of a module's top level may be known by."""
    found = []
    if name in module.imports:
        found.append(module.imports[name])
    value = module.values.get(name)
    if isinstance(value, ast.Call | ast.Attribute):
        found += _names_of_value(value, module, depth)
    if name in module.globals:
        found += filter(None, [_known_as(module.globals[name])])
    elif not found and hasattr(builtins, name):
        found.append(f"builtins.{name}")
    return tuple(dict.fromkeys(found))


def _names_of_value(node: ast.expr, module: Module, depth: int) -> tuple[str, ...]:
    """Return what the value of a module's name was made by: ``redis.Redis()``."""
    match node:
        case ast.Call():
            return tuple(f"{name}()" for name in _names_of_value(node.func, module, depth))
        case ast.Attribute():
            names = _names_of_value(node.value, module, depth)
            return tuple(f"{name}.{node.attr}" for name in names)
        case ast.Name() if depth < _LONGEST_CHAIN:
            return module_names(node.id, module, depth + 1)
    return ()


def _known_as(value: Any) -> str | None:
    """Return the name under which a module, class or function was made, whoever passed it on."""
    if isinstance(value, ModuleType):
        return value.__name__
    if isinstance(value, Queue):
        return "queued.queue"
    if inspect.isclass(value) or inspect.isroutine(value):
        home = getattr(value, "__module__", None)
        own = getattr(value, "__qualname__", None)
        return f"{home}.{own}" if isinstance(home, str) and isinstance(own, str) else None
    return None


def _is_wrapped(function: Function, call: Call) -> bool:
    """Say whether a plain function is awaited: then its decorator runs it, such as in a thread."""
    return call.awaited and isinstance(function, ast.FunctionDef) and bool(function.decorator_list)


def _callee(subject: Subject, func: ast.expr, scope: Scope) -> Scope | None:
    """Return the function that is called, if its source is at hand."""
    match func:
        case ast.Name(id=name) if name in scope.inner:
            return scope_of(scope.module, scope.inner[name], f"{scope.label}.{name}", scope)
        case ast.Name(id=name) if name not in scope.bound and name not in scope.imports:
            function = scope.module.functions.get(name)
            if function is not None:
                return scope_of(scope.module, function, f"{name} (called by {scope.label})")
        case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name):
            found = subject.method(name)
            if found is not None:
                part, method = found
                return scope_of(part.module, method, f"{part.cls.__name__}.{name}")
    return None
