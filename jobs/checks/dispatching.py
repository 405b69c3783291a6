"""Anti-pattern b and practice 16: where jobs are dispatched, and how many at a time."""

from __future__ import annotations

import ast
import re
from collections.abc import Container, Iterator

from queued.jobs.checks.calls import Scope, body, calls, names_of, scope_of
from queued.jobs.checks.rule import Level, Note, Place, Rule
from queued.jobs.checks.source import FUNCTIONS, Function, Module
from queued.jobs.checks.subject import Subject

_QUEUE = r"queued\.(?:queue|jobs\.queue\.(?:queue|_program)|(?:jobs\.queue\.)?Queue\(\))"
_QUEUE += r"(?:\.sync|\.within\(\))?"
_ONE = re.compile(
    rf"queued\.dispatch|queued\.jobs\.queue\.dispatch|{_QUEUE}\.(?:push|later)"
    r"|queued\.jobs\.queue\.Queue\.(?:push|later)"
)
_MANY = re.compile(
    rf"{_QUEUE}\.bulk|queued\.jobs\.queue\.Queue\.bulk"
    r"|queued\.(?:jobs\.chains\.)?(?:chain|batch)\(\)(?:\.\w+\(\))*\.dispatch"
)
_IDS = ("id", "ids", "unique_key")
"""What makes a second dispatch of the same job one that is refused."""


def _in_handle(subject: Subject) -> Iterator[Note]:
    handle = subject.method("handle")
    for call in calls(subject, [handle] if handle else []):
        if any(keyword.arg in _IDS for keyword in call.node.keywords):
            continue
        if _is(_ONE, call.names) or _is(_MANY, call.names):
            what = ast.unparse(call.node.func)
            reason = f"{call.scope.label} calls {what}(): a retry dispatches once more"
            fix = "chain([...]) both where the first is dispatched; or give the second a fixed id="
            yield Note(reason, fix, Place.of(call.scope.module, call.node))


def one_by_one(module: Module, jobs: Container[ast.AST]) -> Iterator[Note]:
    """Yield the loops of a module that dispatch jobs one by one, outside of the given classes."""
    for function in _functions(module.tree, jobs):
        scope = scope_of(module, function, function.name)
        for node in body(function):
            if isinstance(node, ast.For):
                yield from _in_loop(node, scope)


def _functions(tree: ast.AST, jobs: Container[ast.AST]) -> Iterator[Function]:
    for node in ast.iter_child_nodes(tree):
        if node not in jobs:
            if isinstance(node, FUNCTIONS):
                yield node
            yield from _functions(node, jobs)


def _in_loop(loop: ast.For, scope: Scope) -> Iterator[Note]:
    for node in body(loop):
        if isinstance(node, ast.Call) and _is(_ONE, names_of(node.func, scope)):
            reason = f"{ast.unparse(node.func)}() in a loop: a round trip for each job"
            fix = "collect the jobs and await queue.bulk(jobs): a round trip for every 1,000"
            yield Note(reason, fix, Place.of(scope.module, node))


def _is(pattern: re.Pattern[str], names: tuple[str, ...]) -> bool:
    return any(pattern.fullmatch(name) for name in names)


DISPATCH_IN_HANDLE = Rule(
    "dispatch-in-handle",
    Level.WARNING,
    "b",
    "dispatches no other job",
    _in_handle,
    reads_source=True,
)
DISPATCH_IN_LOOP = "dispatch-in-loop"
"""Of modules, not of classes."""
