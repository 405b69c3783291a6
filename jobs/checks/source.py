"""Modules as ``ast`` sees them: imports, functions, ignore comments. Nothing is executed."""

from __future__ import annotations

import ast
import inspect
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

Function = ast.FunctionDef | ast.AsyncFunctionDef
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

_IGNORE = re.compile(r"#\s*queued:\s*ignore\b(?:\[([^\]]*)\])?")


@dataclass(eq=False, slots=True)
class Module:
    """The source of one module."""

    name: str
    file: str
    tree: ast.Module
    imports: dict[str, str] = field(default_factory=dict)
    """What names stand for that the module's top level imports: ``s`` for ``time.sleep``."""
    functions: dict[str, Function] = field(default_factory=dict)
    values: dict[str, ast.expr] = field(default_factory=dict)
    """What the top level assigns to plain names."""
    ignores: dict[int, tuple[str, ...] | None] = field(default_factory=dict)
    """The rules that a comment ignores, by line; None where it names none."""

    @property
    def globals(self) -> dict[str, Any]:
        """What the names of the imported module are now."""
        return vars(sys.modules[self.name]) if self.name in sys.modules else {}

    def scan(self, text: str) -> None:
        for node in _top_level(self.tree):
            if isinstance(node, FUNCTIONS):
                self.functions[node.name] = node
            elif isinstance(node, ast.Import | ast.ImportFrom):
                self.imports.update(imported(node, self.name))
            elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = [target.id for target in targets if isinstance(target, ast.Name)]
                self.values.update(dict.fromkeys(names, node.value))
        self.ignores.update(_ignores(text))

    def find_class(self, qualname: str, line: int | None) -> ast.ClassDef | None:
        """Return the class of that name; of several the one in ``line``, else the last."""
        named = _named(self.tree, _parts(qualname))
        found = [node for node in named if isinstance(node, ast.ClassDef)]
        found = [node for node in found if node.lineno == line] or found
        return found[-1] if found else None

    def find_function(self, qualname: str, line: int) -> Function | None:
        """Return the function of that name, whose first line (or decorator) is ``line``."""
        for node in _named(self.tree, _parts(qualname)):
            if isinstance(node, FUNCTIONS):
                first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
                if first == line:
                    return node
        return None


def read(name: str) -> Module | None:
    """Return the source of an imported module; None if there is none to read."""
    module = sys.modules.get(name)
    return _read(name, module) if module is not None else None


@lru_cache(maxsize=1_000)
def _read(name: str, module: Any) -> Module | None:
    try:
        text = inspect.getsource(module)
        file = inspect.getsourcefile(module) or inspect.getfile(module)
        tree = ast.parse(text)
    except (OSError, TypeError, SyntaxError, ValueError, RecursionError):
        return None
    read = Module(name, file, tree)
    read.scan(text)
    return read


def imported(node: ast.Import | ast.ImportFrom, module: str) -> dict[str, str]:
    """Return what the names stand for that an import binds."""
    if isinstance(node, ast.Import):
        return {
            alias.asname or alias.name.partition(".")[0]: alias.name
            if alias.asname
            else alias.name.partition(".")[0]
            for alias in node.names
        }
    origin = node.module or ""
    if node.level:
        package = module.split(".")[: -node.level]
        origin = ".".join([*package, *filter(None, [origin])])
    return {
        alias.asname or alias.name: f"{origin}.{alias.name}"
        for alias in node.names
        if alias.name != "*"
    }


def _top_level(tree: ast.Module) -> Iterator[ast.stmt]:
    """Yield the statements of a module, those in its ``if``, ``try`` and ``with`` included."""
    pending: list[Any] = [*reversed(tree.body)]
    while pending:
        node = pending.pop()
        yield node
        if not isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            inner = ast.iter_child_nodes(node)
            kinds = ast.stmt | ast.excepthandler | ast.match_case
            pending += reversed([child for child in inner if isinstance(child, kinds)])


def _parts(qualname: str) -> list[str]:
    return [part for part in qualname.split(".") if part != "<locals>"]


def _named(tree: ast.AST, parts: list[str]) -> Iterator[ast.ClassDef | Function]:
    """Yield the classes and functions of a qualified name."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.ClassDef, *FUNCTIONS)):
            if node.name != parts[0]:
                continue
            if len(parts) > 1:
                yield from _named(node, parts[1:])
            else:
                yield node
        elif isinstance(node, ast.stmt | ast.excepthandler | ast.match_case):
            yield from _named(node, parts)


def _ignores(text: str) -> dict[int, tuple[str, ...] | None]:
    found: dict[int, tuple[str, ...] | None] = {}
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            match = _IGNORE.search(token.string) if token.type == tokenize.COMMENT else None
            if match:
                found[token.start[0]] = named(match[1])
    except (tokenize.TokenError, SyntaxError):
        pass
    return found


def ignored_by(line: str) -> tuple[str, ...]:
    """Return the rules that a line's comment ignores; for files that are no Python."""
    match = _IGNORE.search(line)
    return (named(match[1]) or ()) if match else ()


def named(listed: str | None) -> tuple[str, ...] | None:
    """Return the names in ``a, b``; None if there are none."""
    names = [name.strip() for name in (listed or "").split(",")]
    return tuple(filter(None, names)) or None
