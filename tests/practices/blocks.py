"""The guide taken apart: every block of code, split where its comments say good or bad."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

GUIDE = Path(__file__).with_name("guide.md")

_HEADING = re.compile(r"^### (?:(\d+)\.|❌) (.*)$")
_MARK = re.compile(r"^# (✅ Good|❌ Bad)", re.MULTILINE)


class Part(NamedTuple):
    """A block, or the good or bad half of one."""

    practice: str
    """Its number, or the letter of an anti-pattern."""
    heading: str
    language: str
    verdict: str
    """``good``, ``bad``, or empty where the guide does not say: then it is good."""
    text: str

    @property
    def id(self) -> str:
        """Return ``7-bad``, ``13``, ``5-bash``: no two parts have the same."""
        shown = "" if self.language == "python" else self.language
        return "-".join(filter(None, [self.practice, shown, self.verdict]))


def parts() -> list[Part]:
    """Return all of the guide's code in its order."""
    found: list[Part] = []
    practice, heading, letters = "", "", iter("abc")
    language, lines = "", None
    for line in GUIDE.read_text().splitlines():
        match = _HEADING.match(line)
        if lines is not None:
            if line == "```":
                found += _split(practice, heading, language, "\n".join(lines) + "\n")
                lines = None
            else:
                lines.append(line)
        elif match:
            practice, heading = match[1] or next(letters), match[2]
        elif line.startswith("```"):
            language, lines = line.removeprefix("```"), []
    return found


def _split(practice: str, heading: str, language: str, text: str) -> list[Part]:
    marks = [*_MARK.finditer(text)]
    if not marks:
        return [Part(practice, heading, language, "", text)]
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    halves = []
    for mark, end in zip(marks, ends, strict=True):
        verdict = mark[1].split()[1].lower()
        halves.append(Part(practice, heading, language, verdict, text[mark.start() : end]))
    return halves
