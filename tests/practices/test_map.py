"""docs/practices.md: a row and a section for each practice, and what they name is there."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from queued.cli.check import checklist, systemd
from queued.jobs.checks.dispatching import DISPATCH_IN_LOOP
from queued.jobs.checks.rules import RULES
from tests.practices.blocks import GUIDE, parts

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGE = (DOCS / "practices.md").read_text()
PRACTICES = [*map(str, range(1, 23)), "a", "b", "c"]
ROWS = {
    row[0]: row for row in re.findall(r"^\| \[(\w+)\]\(#([^)]+)\) \|(.*)\|$", PAGE, re.MULTILINE)
}
SECTIONS = dict(re.findall(r"^## ([^\n]*)\n\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
PRACTICE_OF = {
    **{rule.id: rule.practice for rule in RULES},
    DISPATCH_IN_LOOP: "16",
    checklist.UNSERVED_QUEUE: "5",
    checklist.IDLE_POOL: "6",
    systemd.STOP_TIMEOUT: "19",
}


def slug(heading: str) -> str:
    """Return the anchor that mkdocs gives a heading."""
    plain = re.sub(r"[^\w\s-]", "", heading.replace("`", "")).strip().lower()
    return re.sub(r"[-\s]+", "-", plain)


@cache
def anchors(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return {slug(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


@cache
def _tests_in(path: str) -> set[str]:
    return set(re.findall(r"^(?:async )?def (test_\w+)", (ROOT / path).read_text(), re.MULTILINE))


def test_each_practice_has_a_row() -> None:
    assert [*ROWS] == PRACTICES


@pytest.mark.parametrize("practice", PRACTICES)
def test_its_section_begins_with_the_guide_s_words(practice: str) -> None:
    heading = next(part.heading for part in parts() if part.practice == practice)
    number = f"{practice}. " if practice.isdecimal() else ""
    section = SECTIONS[f"{number}{heading}"]
    assert ROWS[practice][1] == slug(f"{number}{heading}")
    quoted = section.splitlines()[0]
    assert quoted.startswith("> ")
    assert quoted.removeprefix("> ") in GUIDE.read_text()


@pytest.mark.parametrize("practice", PRACTICES)
def test_its_tests_exist(practice: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", ROWS[practice][2])
    assert named
    for path, test in named:
        assert test in _tests_in(path), f"{path} has no {test}"


@pytest.mark.parametrize("practice", PRACTICES)
def test_its_rules_are_named(practice: str) -> None:
    named = set(re.findall(r"\]\(check\.md#([\w-]+)\)", ROWS[practice][2]))
    assert named == {rule for rule, of in PRACTICE_OF.items() if of == practice}


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        page, _, anchor = target.partition("#")
        path = DOCS / page if page else DOCS / "practices.md"
        assert path.is_file(), target
        assert not anchor or anchor in anchors(path), target


def test_the_checklist_is_the_guide_s() -> None:
    asked = re.findall(r"^- \[ \] (.*)$", GUIDE.read_text(), re.MULTILINE)
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \|$", SECTIONS["The checklist"], re.MULTILINE)
    assert rows[1:] == asked
