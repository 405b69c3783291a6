"""Every event that queued logs is on docs/logs.md, with its level, and nothing else is.

Read from the source with ``ast``: what stands in the first argument of ``log.info(...)`` and such.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from queued.daemon.logs.repeats import OF_DAEMON, OF_JOBS
from queued.daemon.monitor.janitor import ENDINGS
from queued.daemon.worker.judge import EVENTS

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("queued", "config", "daemon", "drivers", "jobs", "web")
PAGE = ROOT / "docs" / "logs.md"

LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
EITHER = {"warning", "error"}
"""Of ``emit``: a method that was chosen a line before."""
SPELLED_OUT = {
    "f'{change.name}.importing'": ["reload.importing", "restart.importing"],
    "f'{change.name}.done'": ["reload.done", "restart.done"],
    "f'{change.name}.failed'": ["reload.failed", "restart.failed"],
    "EVENTS[decision.outcome]": list(EVENTS.values()),
    "event": list(ENDINGS.values()),
}
"""Names that are put together in the source, or found in a table."""
BY_NAME = {"job.retried": {"warning"}, "job.lost": {"warning"}, "job.failed": {"error"}}
"""Where the outcome decides on the level."""
FORWARDED = {"record.getMessage()"}
"""The lines of other people's loggers."""


def calls() -> Iterator[tuple[str, str, ast.expr]]:
    """Yield where each line is logged, by which method, and its first argument."""
    for folder in FOLDERS:
        for file in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                if not isinstance(node, ast.Call) or not node.args:
                    continue
                where = f"{file.relative_to(ROOT)}:{node.lineno}"
                match node.func:
                    case ast.Attribute(value=ast.Name(id="log"), attr=method):
                        yield where, method, node.args[0]
                    case ast.Attribute(
                        value=ast.Call(func=ast.Attribute(attr="get_logger")), attr=method
                    ):
                        yield where, method, node.args[-1 if method == "log" else 0]
                    case ast.Name(id="emit"):
                        yield where, "emit", node.args[0]


def names(argument: ast.expr, where: str) -> list[str]:
    match argument:
        case ast.Constant(value=str(name)):
            return [name]
        case ast.IfExp(body=one, orelse=other):
            return names(one, where) + names(other, where)
    text = ast.unparse(argument)
    assert text in SPELLED_OUT or text in FORWARDED, f"{where}: which event is {text}?"
    return SPELLED_OUT.get(text, [])


def logged() -> dict[str, set[str]]:
    """Return the levels of each event in the source."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for where, method, argument in calls():
        assert method in LEVELS | {"emit", "log"}, f"{where}: what is log.{method}?"
        level = "error" if method == "exception" else method
        for name in names(argument, where):
            found[name] |= EITHER if method == "emit" else {level}
    return found | BY_NAME


def documented() -> dict[str, set[str]]:
    """Return the levels of each event on the page: rows of ``| `event` | level | ...``."""
    rows = re.findall(r"^\| `([a-z]+\.[a-z_]+)` \| ([a-z, ]+) \|", PAGE.read_text(), re.MULTILINE)
    found = {name: {level.strip() for level in levels.split(",")} for name, levels in rows}
    assert len(found) == len(rows), "an event has two rows"
    return found


def test_the_page_and_the_source_have_the_same_events() -> None:
    assert sorted(documented()) == sorted(logged())


def test_the_page_and_the_source_have_the_same_levels() -> None:
    page, source = documented(), logged()
    assert {name: levels for name, levels in page.items() if levels != source[name]} == {}


def test_names_are_stable_words() -> None:
    wrong = [name for name in logged() if not re.fullmatch(r"[a-z]+\.[a-z_]+", name)]
    assert wrong == []


@pytest.mark.parametrize("limited", [OF_JOBS, OF_DAEMON])
def test_what_is_held_back_exists(limited: frozenset[str]) -> None:
    assert limited <= logged().keys()
