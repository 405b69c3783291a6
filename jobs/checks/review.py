"""All rules on all classes: a row of results for each class, and what is wrong in their modules."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from queued.jobs.checks.dispatching import DISPATCH_IN_LOOP, one_by_one
from queued.jobs.checks.rule import Finding, Level, Note, Place, Rule
from queued.jobs.checks.rules import RULES
from queued.jobs.checks.source import Module
from queued.jobs.checks.subject import PoolTimeout, Subject
from queued.jobs.text import nearest

if TYPE_CHECKING:
    from queued.jobs.job import Job

BAD_IGNORE = "bad-ignore"


@dataclass(frozen=True, slots=True)
class Row:
    """What the rules say of one class: one finding at least for each rule."""

    name: str
    """The wire name."""
    file: str | None
    line: int | None
    findings: list[Finding]

    @property
    def broken(self) -> list[Finding]:
        """What is to be done."""
        return [one for one in self.findings if one.level in {Level.WARNING, Level.ERROR}]


@dataclass(frozen=True, slots=True)
class Review:
    """The checklist."""

    rows: list[Row] = field(default_factory=list)
    modules: list[Finding] = field(default_factory=list)

    def findings(self) -> list[Finding]:
        """Return what is to be done, each thing once, though several classes may inherit it."""
        every = [*(one for row in self.rows for one in row.broken), *self.modules]
        return list(dict.fromkeys(one for one in every if one.level is not Level.IGNORED))


def review(classes: Mapping[str, type[Job]], pools: Mapping[str, PoolTimeout]) -> Review:
    """Look at job classes.

    :param classes: by wire name.
    :param pools: by wire name, the timeout of the pool that serves the class.
    """
    subjects = {name: Subject(cls, pools[name]) for name, cls in classes.items()}
    rows = [_row(name, subject) for name, subject in sorted(subjects.items())]
    return Review(rows, [*_of_modules(subjects.values())])


def _row(name: str, subject: Subject) -> Row:
    place = subject.place
    file = place.module.file if place.module else _file(subject)
    findings = [finding for rule in RULES for finding in _apply(rule, subject, file)]
    return Row(name, file, place.line, findings)


def _apply(rule: Rule, subject: Subject, file: str | None) -> Iterator[Finding]:
    if rule.reads_source and subject.own is None:
        reason = "the source of the class cannot be read"
        yield Finding(rule.id, Level.UNKNOWN, rule.practice, reason, file=file)
        return
    notes = list(dict.fromkeys(rule.look(subject)))
    for note in notes:
        place = note.place or subject.place
        level = Level.IGNORED if _is_ignored(rule.id, place, subject) else rule.level
        found = _finding(rule.id, level, rule.practice, note, place)
        yield found if found.file else replace(found, file=file)
    if not notes:
        yield Finding(rule.id, Level.PASS, rule.practice, rule.title)


def _finding(rule: str, level: Level, practice: str, note: Note, place: Place) -> Finding:
    file = place.module.file if place.module else None
    return Finding(rule, level, practice, note.reason, note.fix, file, place.line)


def _is_ignored(rule: str, place: Place, subject: Subject) -> bool:
    if _is_ignored_at(rule, place):
        return True
    # at the head of the class, or of the base in whose body it stands
    for part in subject.parts:
        if part.cls is subject.cls or part.module is place.module:
            inside = range(part.node.lineno, (part.node.end_lineno or 0) + 1)
            if part.cls is not subject.cls and place.line not in inside:
                continue
            if any(rule in (part.module.ignores.get(line) or ()) for line in part.header):
                return True
    return False


def _is_ignored_at(rule: str, place: Place) -> bool:
    if place.module is None or place.line is None:
        return False
    lines = range(place.line, (place.end or place.line) + 1)
    return any(rule in (place.module.ignores.get(line) or ()) for line in lines)


def _of_modules(subjects: Iterable[Subject]) -> Iterator[Finding]:
    parts = [part for subject in subjects for part in subject.parts]
    modules = {part.module: None for part in parts}
    jobs = {part.node for part in parts}
    for module in modules:
        for note in one_by_one(module, jobs):
            place = note.place or Place(module, None)
            ignored = _is_ignored_at(DISPATCH_IN_LOOP, place)
            level = Level.IGNORED if ignored else Level.WARNING
            yield _finding(DISPATCH_IN_LOOP, level, "16", note, place)
        yield from _bad_ignores(module)


def _bad_ignores(module: Module) -> Iterator[Finding]:
    known = [*(rule.id for rule in RULES), DISPATCH_IN_LOOP]
    for line, names in module.ignores.items():
        unknown = [name for name in names or () if name not in known]
        reasons = [f'"{name}" is no rule{nearest(name, known)}' for name in unknown]
        if names is None:
            reasons = ["a comment ignores no rule: nothing is ignored as a whole"]
        for reason in reasons:
            note = Note(reason, "# queued: ignore[vague-name], with the rules' names")
            yield _finding(BAD_IGNORE, Level.WARNING, "", note, Place(module, line))


def _file(subject: Subject) -> str | None:
    module = sys.modules.get(subject.cls.__module__)
    file = getattr(module, "__file__", None)
    return file if isinstance(file, str) else None
