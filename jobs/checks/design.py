"""Practices 1 to 4 on a class as a whole: focus, repetition, time, name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from queued.jobs.checks.calls import body, calls
from queued.jobs.checks.rule import Level, Note, Place, Rule
from queued.jobs.checks.subject import Subject
from queued.units import format_duration, parse_duration

LONGEST = 600.0
"""Seconds; the guide says not to go beyond."""
_MANY = 4
"""Things that a handle does one after the other, none of which needs what another found."""

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_VAGUE = frozenset((
    "do", "does", "stuff", "process", "processing", "handle", "handling", "handler", "run",
    "running", "runner", "execute", "perform", "work", "worker", "working", "job", "jobs", "task",
    "tasks", "thing", "things", "some", "something", "misc", "foo", "bar", "baz", "qux", "tmp",
    "temp", "test", "tests", "background", "async", "it", "new",
))  # fmt: skip
# The row is found where it stands, and is set from what it holds.
_RELATIVE = re.compile(r"\bSET\b[^;]*?\b(\w+)\s*=\s*(?:\w+\.)?\1\s*[-+*/|]", re.IGNORECASE)


def _vague(subject: Subject) -> Iterator[Note]:
    words = [word.lower() for word in _WORDS.findall(subject.name)]
    if all(word in _VAGUE or word.isdigit() or len(word) == 1 for word in words):
        reason = f"nobody who reads {subject.name} in a log or a chart knows what it does"
        yield Note(reason, "name what it does to what: SendPasswordResetEmailJob")


def _no_timeout(subject: Subject) -> Iterator[Note]:
    own, pool = _own_timeout(subject), subject.pool_timeout
    if own is None and pool.source is None:
        built_in = format_duration(pool.seconds) if pool.seconds else "none"
        reason = f"neither class nor queue sets a timeout, so that the built-in {built_in} holds"
        yield Note(reason, "timeout = 30 in the class, or timeout: of its queue or of defaults")
    elif not (pool.seconds if own is None else own):
        who = "its timeout is 0" if own is not None else f"{pool.source} is none"
        fix = "set how long a run may take at most: timeout = 30"
        yield Note(f"{who}: a run that hangs holds its slot for ever", fix, _timeout_place(subject))


def _long_timeout(subject: Subject) -> Iterator[Note]:
    own, pool = _own_timeout(subject), subject.pool_timeout
    seconds = pool.seconds if own is None else own
    if seconds and seconds > LONGEST:
        source = "" if own is not None else f", of {pool.source}"
        reason = f"a timeout of {format_duration(seconds)}{source}, is over 10m"
        fix = "break it into smaller jobs: they are retried and deployed more easily"
        yield Note(reason, fix, _timeout_place(subject))


def _own_timeout(subject: Subject) -> float | None:
    """Return the seconds that the class says; 0 is no limit, None nothing."""
    said = subject.cls.timeout
    return None if said is None else parse_duration(said)


def _timeout_place(subject: Subject) -> Place | None:
    for part in subject.parts:
        for name, _, statement in part.assignments():
            if name == "timeout":
                return Place.of(part.module, statement)
    return None


def _unfocused(subject: Subject) -> Iterator[Note]:
    found = subject.method("handle")
    if found is None:
        return
    part, handle = found
    steps = [node for node in handle.body if not _is_text(node)]
    names = {_step(node) for node in steps}
    if None not in names and len(names) >= _MANY:
        reason = f"handle does {len(names)} things that do not need one another"
        fix = "a job for each, in a chain or a batch: if the last fails, a retry repeats them all"
        yield Note(reason, fix, Place(part.module, handle.lineno, handle.lineno))


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _step(node: ast.stmt) -> str | None:
    """Return what ``await something(...)`` calls; None for any other statement."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Await):
        call = node.value.value
        if isinstance(call, ast.Call):
            return ast.unparse(call.func)
    return None


def _repeated(subject: Subject) -> Iterator[Note]:
    handle = subject.method("handle")
    if handle is None:
        return
    seen = set()
    for scope in {call.scope: None for call in calls(subject, [handle])}:
        for node in body(scope.function):
            is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
            match = _RELATIVE.search(node.value) if is_text else None  # type: ignore[attr-defined]
            if match and node not in seen:
                seen.add(node)
                reason = f"each run changes {match[1]} again, and a job can run more than once"
                fix = "set the value that is meant; or remember self.job_id in the same transaction"
                place = Place.of(scope.module, node)  # type: ignore[arg-type]
                yield Note(reason, fix, place)


UNFOCUSED = Rule("unfocused", Level.WARNING, "1", "does one thing", _unfocused, reads_source=True)
NOT_IDEMPOTENT = Rule(
    "not-idempotent", Level.WARNING, "2", "can run twice", _repeated, reads_source=True
)
NO_TIMEOUT = Rule("no-timeout", Level.WARNING, "3", "has a timeout", _no_timeout)
LONG_TIMEOUT = Rule("long-timeout", Level.WARNING, "3", "times out within 10m", _long_timeout)
VAGUE_NAME = Rule("vague-name", Level.WARNING, "4", "has a name that says what it does", _vague)
