"""``queued check`` for people: a tree for each job on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from queued.cli.check.annotations import line_of, place_of
from queued.cli.output import coloured, console, plural, print_table
from queued.jobs.checks.rule import Finding, Level
from queued.jobs.text import one_line
from queued.units import format_duration

if TYPE_CHECKING:
    from rich.console import Console
    from rich.tree import Tree

    from queued.cli.check.checklist import Checklist
    from queued.jobs.checks.review import Row

_MARKS = {
    Level.PASS: ("✓", "ok", "green"),
    Level.WARNING: ("!", "!", "yellow"),
    Level.ERROR: ("✗", "x", "bold red"),
    Level.IGNORED: ("·", "-", "bright_black"),
    Level.UNKNOWN: ("?", "?", "bright_black"),
}


def show(config: Path, found: Checklist, *, ok: bool) -> None:
    """Print all that was found."""
    for problem in found.problems:
        _say(line_of(problem))
    for warning in found.warnings:
        if warning.level is Level.WARNING:
            _say(f"warning: {line_of(warning)}")
    if sys.stdout.isatty() and found.rows:
        _show_trees(found)
    else:
        _show_lines(found)
    errors, warnings = len(found.at(Level.ERROR)), len(found.at(Level.WARNING))
    doubts = f", {plural(warnings, 'warning')}" if warnings else ""
    if ok:
        counted = f"{plural(len(found.queues), 'queue')}, {plural(len(found.settings), 'job')}"
        _say(f"{config}: ok, {counted}{doubts}")
    elif errors:
        _say(f"{config}: {plural(errors, 'problem')}{doubts}")
    else:
        _say(f"{config}: {plural(warnings, 'warning')}, and --strict lets none pass")


def _show_lines(found: Checklist) -> None:
    for one in found.practices:
        _say(f"{one.level}: {line_of(one)}")
        if one.fix:
            _say(f"  instead: {one.fix}")
    if not found.settings or found.problems:
        return
    verdicts = {row.name: _verdict(row) for row in found.rows}
    rows = [
        (one["name"], one["queue"], one["max_tries"], _timeout(one), verdicts.get(one["name"], ""))
        for one in found.settings
    ]
    columns = ("job", "queue", "max_tries", "timeout", "checks")
    width = len(columns) if found.rows else -1
    right = ("max_tries", "timeout")
    print_table(columns[:width], [row[:width] for row in rows], right=right)


def _show_trees(found: Checklist) -> None:
    out = console()
    rows = {row.name: row for row in found.rows}
    for one in found.settings:
        out.print(_tree(out, one, rows[one["name"]]))
    for module in found.practices:
        if not any(module in row.findings for row in found.rows):
            out.print(_entry(out, module))


def _tree(out: Console, settings: dict[str, Any], row: Row) -> Tree:
    from rich.tree import Tree  # noqa: PLC0415 - only on a terminal

    levels = {one.level for one in row.findings}
    worst = next((each for each in (Level.ERROR, Level.WARNING) if each in levels), Level.PASS)
    title = _mark(out, worst)
    title.append_text(coloured(f" {settings['name']}", "bold"))
    limits = f"{plural(settings['max_tries'], 'try')}".replace("trys", "tries")
    facts = f"  {settings['queue']}, {limits}, timeout {_timeout(settings)}"
    title.append_text(coloured(facts, "bright_black"))
    tree = Tree(title, guide_style="bright_black")
    for finding in row.findings:
        if finding.level is not Level.PASS:
            tree.add(_entry(out, finding))
    passed = [one.rule for one in row.findings if one.level is Level.PASS]
    line = _mark(out, Level.PASS)
    line.append_text(coloured(f" {', '.join(passed)}", "bright_black"))
    tree.add(line)
    return tree


def _entry(out: Console, finding: Finding) -> Any:
    line = _mark(out, finding.level)
    line.append_text(coloured(f" {finding.rule}", "bold"))
    where = place_of(finding)
    line.append_text(coloured(f"  {where}: {finding.reason}" if where else f"  {finding.reason}"))
    if finding.fix and finding.level in {Level.WARNING, Level.ERROR}:
        line.append("\n  ")
        line.append_text(coloured(f"instead: {finding.fix}", "cyan"))
    return line


def _mark(out: Console, level: Level) -> Any:
    sign, plain, style = _MARKS[level]
    mark = coloured("")
    return mark.append(sign if out.encoding.startswith("utf") else plain, style)


def _verdict(row: Row) -> str:
    errors = sum(one.level is Level.ERROR for one in row.findings)
    warnings = sum(one.level is Level.WARNING for one in row.findings)
    parts = [plural(errors, "error")] * bool(errors) + [plural(warnings, "warning")] * bool(
        warnings
    )
    return ", ".join(parts) or "ok"


def _timeout(settings: dict[str, Any]) -> str:
    return format_duration(settings["timeout"]) if settings["timeout"] else "none"


def _say(text: str) -> None:
    """Print one line, whatever the file and the modules hold."""
    click.echo(one_line(text, 2_000))
