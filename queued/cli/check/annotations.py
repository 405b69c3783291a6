"""Findings as lines: for people, and as a GitHub workflow shows them beside the code."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from queued.jobs.checks.rule import Finding
from queued.jobs.text import one_line

_LONGEST = 2_000


def line_of(finding: Finding) -> str:
    """Return ``app/jobs.py:12: the reason [rule]``, without the fix."""
    rule = f" [{finding.rule}]" if finding.fix else ""
    where = place_of(finding)
    return one_line(f"{where}{': ' * bool(where)}{finding.reason}{rule}", _LONGEST)


def place_of(finding: Finding) -> str:
    """Return ``app/jobs.py:12``, or nothing."""
    if finding.file is None:
        return ""
    return short(finding.file) + (f":{finding.line}" if finding.line else "")


def short(file: str) -> str:
    """Return how people would call a file from here."""
    path = Path(file)
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else file


def annotate(findings: Iterable[Finding]) -> None:
    """Print workflow commands: ``::warning file=app/jobs.py,line=12,title=rule::...``."""
    for one in findings:
        properties = {"title": one.rule}
        if one.file is not None:
            properties = {"file": short(one.file), "line": str(one.line or 1), **properties}
        told = ",".join(f"{name}={_escaped(value, ',:')}" for name, value in properties.items())
        text = one.reason + (f" Instead: {one.fix}" if one.fix else "")
        click.echo(f"::{one.level} {told}::{_escaped(one_line(text, _LONGEST))}")


def _escaped(text: str, special: str = "") -> str:
    for char in f"%\r\n{special}":
        text = text.replace(char, f"%{ord(char):02X}")
    return text
