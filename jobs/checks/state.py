"""Anti-pattern c: what a job keeps on its class or module, where all jobs of a process share it."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from queued.jobs.checks.calls import body
from queued.jobs.checks.rule import Level, Note, Place, Rule
from queued.jobs.checks.source import Function
from queued.jobs.checks.subject import Part, Subject
from queued.jobs.definition import RESERVED

_LITERALS = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
_MAKERS = frozenset(
    ("list", "dict", "set", "bytearray", "deque", "defaultdict", "OrderedDict", "Counter")
)
_CHANGES = frozenset((
    "append", "extend", "insert", "remove", "pop", "clear", "sort", "reverse", "add", "discard",
    "update", "setdefault", "popitem", "appendleft", "extendleft", "popleft", "rotate", "subtract",
    "intersection_update", "difference_update",
))  # fmt: skip
_FIX = "set it in __init__, or annotate it and it is a field; what outlives a run goes to a store"


def _on_class(subject: Subject) -> Iterator[Note]:
    changed = _changed_through_class(subject)
    for part in subject.parts:
        for name, value, statement in part.assignments():
            if name in RESERVED or name.startswith("__") or name in subject.cls.__queued__.fields:
                continue
            is_plain = isinstance(statement, ast.Assign)
            is_constant = name.isupper() or not is_plain
            where = f"{part.cls.__name__}.{name}"
            if name in changed:
                reason = (
                    f"{changed[name]} changes {where}, an attribute of the class: all jobs of a"
                )
                reason += " process share it, and none keeps it for its next run"
            elif _is_mutable(value) and not is_constant:
                reason = f"{where} can be changed, and all jobs of a process share it"
            else:
                continue
            yield Note(reason, _FIX, Place.of(part.module, statement))


def _changed_through_class(subject: Subject) -> dict[str, str]:
    """Return the attributes that methods change where all share them, and the method of each."""
    names = {base.__name__ for base in subject.cls.__mro__}
    found: dict[str, str] = {}
    for part, method in subject.methods():
        for node in body(method):
            for target, is_rebound in _targets(node):
                owner = target.value if isinstance(target, ast.Attribute) else None
                if owner is None or not isinstance(target, ast.Attribute):
                    continue
                through_self = isinstance(owner, ast.Name) and owner.id == "self"
                # self.x = 1 makes an attribute of the instance; self.x += 1 reads the class first
                if _is_class(owner, names) or (through_self and not is_rebound):
                    found.setdefault(target.attr, f"{part.cls.__name__}.{method.name}")
    own = _set_in_init(subject)
    return {name: method for name, method in found.items() if name not in own}


def _set_in_init(subject: Subject) -> set[str]:
    init = subject.method("__init__")
    if init is None:
        return set()
    return {
        node.attr
        for node in body(init[1])
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }


def _is_class(node: ast.expr, names: set[str]) -> bool:
    match node:
        case ast.Name(id=name):
            return name == "cls" or name in names
        case ast.Call(func=ast.Name(id="type")) | ast.Attribute(attr="__class__"):
            return True
    return False


def _targets(node: ast.AST) -> Iterator[tuple[ast.expr, bool]]:
    """Yield what a node changes, and whether it only gives the name another value."""
    match node:
        case ast.Assign(targets=targets) | ast.Delete(targets=targets):
            for target in targets:
                yield _changed(target), not isinstance(target, ast.Subscript)
        case ast.AugAssign(target=target):
            yield _changed(target), False
        case ast.Call(func=ast.Attribute(value=value, attr=method)) if method in _CHANGES:
            yield value, False


def _changed(target: ast.expr) -> ast.expr:
    while isinstance(target, ast.Subscript):
        target = target.value
    return target


def _is_mutable(value: ast.expr | None) -> bool:
    if isinstance(value, ast.Call):
        made = ast.unparse(value.func).rpartition(".")[2]
        return made in _MAKERS
    return isinstance(value, _LITERALS)


def _on_module(subject: Subject) -> Iterator[Note]:
    for part, method in subject.methods():
        seen = set()
        for name, node in _changed_globals(part, method):
            if name not in seen:
                seen.add(name)
                reason = f"{part.cls.__name__}.{method.name} changes {name} of the module: each"
                reason += " worker process has its own, and all its jobs share it"
                fix = "keep it in the back-end, a database or a cache that all workers ask"
                yield Note(reason, fix, Place.of(part.module, node))


def _changed_globals(part: Part, method: Function) -> Iterator[tuple[str, ast.stmt | ast.expr]]:
    shared: set[str] = set()
    local = {arg.arg for arg in ast.walk(method.args) if isinstance(arg, ast.arg)}
    for node in body(method):
        if isinstance(node, ast.Global):
            shared.update(node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            local.add(node.id)
    for node in body(method):
        for target, is_rebound in _targets(node):
            if not isinstance(target, ast.Name) or not isinstance(node, ast.stmt | ast.expr):
                continue
            is_global = target.id in shared
            is_seen = target.id not in local and _is_mutable(part.module.values.get(target.id))
            if is_global or (is_seen and not is_rebound):
                yield target.id, node


CLASS_STATE = Rule(
    "class-state", Level.WARNING, "c", "keeps no state on the class", _on_class, reads_source=True
)
MODULE_STATE = Rule(
    "module-state",
    Level.WARNING,
    "c",
    "keeps no state in the module",
    _on_module,
    reads_source=True,
)
