"""docs/check.md: each rule has its section, the guide's words, a bad and a good example."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from queued.cli.check import checklist, systemd
from queued.jobs.checks.dispatching import DISPATCH_IN_LOOP
from queued.jobs.checks.rules import RULES
from queued.jobs.checks.subject import PoolTimeout
from tests.unit.checking import Checker, checker, rules
from tests.unit.commands import Application, application

check = pytest.fixture(checker)
app = pytest.fixture(application)

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "check.md").read_text()
GUIDE = (ROOT / "tests" / "practices" / "guide.md").read_text()
SECTIONS = dict(re.findall(r"^### ([\w-]+)\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL))
ROWS = {
    rule: (level, practice, title)
    for rule, level, practice, title in re.findall(
        r"^\| \[`([\w-]+)`\]\(#\1\) \| (\w+) \| (\w+) \| (.*) \|$", PAGE, re.MULTILINE
    )
}
STEP = "async def step(*_): ...\nsend_mail = step\n"
OF_CONFIG = [checklist.UNSERVED_QUEUE, checklist.IDLE_POOL, systemd.STOP_TIMEOUT]
OF_CODE = [*(rule.id for rule in RULES), DISPATCH_IN_LOOP]


def blocks(rule: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", SECTIONS[rule], re.MULTILINE | re.DOTALL)


def test_every_rule_has_a_section_and_a_row() -> None:
    assert sorted(SECTIONS) == sorted(ROWS) == sorted([*OF_CONFIG, *OF_CODE])
    assert [*SECTIONS] == [*ROWS]
    for rule in RULES:
        assert ROWS[rule.id] == (rule.level, rule.practice, rule.title)


@pytest.mark.parametrize("rule", SECTIONS)
def test_it_begins_with_the_guide_s_own_words(rule: str) -> None:
    words = SECTIONS[rule].strip().splitlines()[0].removeprefix("> ")
    assert words in GUIDE.replace("`", "")


@pytest.mark.parametrize("rule", OF_CODE)
def test_its_bad_example_is_found_and_its_good_one_is_not(check: Checker, rule: str) -> None:
    bad, good = blocks(rule, "python")
    before = PAGE.partition(f"### {rule}\n")[0]
    imports = "\n".join(re.findall(r"^(?:from|import) .*$", before, re.MULTILINE))
    head = f"from __future__ import annotations\n{imports}\n{STEP}"
    pool = PoolTimeout(60.0, "defaults.timeout")
    assert rule in rules(check(bad, pool, head=head))
    of_bad = "\n".join(line for line in bad.splitlines() if line.startswith(("from", "import")))
    # of the good ones, some lack a failed(), which would only stand in the way
    others = {"no-failed"} - {rule}
    assert rules(check(good, pool, head=f"{head}{of_bad}\n")) <= others


@pytest.mark.parametrize("rule", OF_CONFIG[:2])
def test_its_bad_queue_yaml_is_found_and_its_good_one_is_not(app: Application, rule: str) -> None:
    bad, good = blocks(rule, "yaml")
    for text, is_found in ((bad, True), (good, False)):
        app.configure(re.sub(r"\[jobs\]", f"[{app.module}]", text))
        answer = app("check", "--no-practices")
        assert (f"[{rule}]" in answer.out) is is_found


def test_the_exit_codes_and_options_are_those_of_the_command(app: Application) -> None:
    shown = app("check", "--help").out
    for option in set(re.findall(r"--[a-z][a-z-]+", PAGE)):
        assert option in shown
