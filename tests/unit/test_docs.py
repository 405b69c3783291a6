"""Every snippet of the documentation runs: Python on the memory driver, YAML through the loader,
commands through the command line's own parser."""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

import pytest
import yaml

from queued.config.load import load
from queued.jobs.queue import Queue
from queued.policy import generate_key

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "coming-from").glob("*.md")),
]
ENVIRONMENT = {"REDIS_PASSWORD": "x", "ALERT_WEBHOOK": "https://hooks.example.com/x"}
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def snippets(*languages: str) -> Iterator[pytest.param]:
    for page in PAGES:
        found = [
            text for language, text in FENCE.findall(page.read_text()) if language in languages
        ]
        if found:
            yield pytest.param(found, id=str(page.relative_to(ROOT)))


def compiled(source: str, page: str) -> CodeType:
    return compile(source, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


TESTS = "docs/testing.md"
"""Its snippets are files of tests: test_testing_plugin.py runs them with a pytest of their own."""


@pytest.mark.parametrize("python", [one for one in snippets("python") if one.id != TESTS])
async def test_python_runs(python: list[str], monkeypatch, request) -> None:
    """The snippets of a page run one after the other in one namespace, as a reader types them."""
    page = request.node.callspec.id
    name = "page_" + re.sub(r"\W", "_", page)
    monkeypatch.setenv("QUEUE_CONNECTION", f"memory://{name}")
    producer = Queue()
    monkeypatch.setattr("queued.queue", producer)
    monkeypatch.setattr("queued.jobs.queue.queue", producer)
    monkeypatch.setattr("queued.dispatch", producer.push)
    namespace = {"__name__": name}
    for snippet in python:
        result = eval(compiled(snippet, page), namespace)
        if inspect.isawaitable(result):
            await result
    producer.sync.close()
    await producer.close()


@pytest.mark.parametrize("texts", list(snippets("yaml")))
def test_yaml_loads(texts: list[str], tmp_path: Path) -> None:
    for text in texts:
        if "queues" not in (yaml.safe_load(text) or {}):
            continue
        path = tmp_path / "queue.yaml"
        path.write_text(text)
        for name in re.findall(r"\$\{file:([\w-]+)\}", text):
            (tmp_path / name).write_text("a secret of a good length")
        for name in re.findall(r"keys_file: ([\w-]+)", text):
            (tmp_path / name).write_text(generate_key())
        assert load(path, ENVIRONMENT).config.queues


def commands(shell: list[str]) -> Iterator[list[str]]:
    for text in shell:
        for line in text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            words = list(itertools.takewhile(lambda word: word not in {"|", ">"}, words))
            words = [word for word in words if not re.fullmatch(r"[A-Z_]+=.*", word)]
            if words and Path(words[0]).name == "queued":
                yield words[1:]


@pytest.mark.parametrize("shell", list(snippets("sh", "console")))
def test_commands_exist(shell: list[str]) -> None:
    """Parse each ``queued …`` as the command line does, without running it."""
    import click

    from queued.cli import cli

    for words in commands(shell):
        context = click.Context(cli, info_name="queued")
        command: click.Command = cli
        rest = words
        while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
            child = command.get_command(context, rest[0])
            assert child, f"queued {' '.join(words)}: no such command"
            command, rest = child, rest[1:]
        if "--help" not in rest:
            command.make_context(command.name, list(rest), resilient_parsing=False)


SOURCES = "\n".join(
    path.read_text()
    for folder in ("queued", "config", "daemon", "drivers", "jobs")
    for path in sorted((ROOT / folder).rglob("*.py"))
)


def test_the_messages_are_those_of_the_program() -> None:
    """Who searches for a message must find it: each piece between ``…`` stands in the source."""
    page = (ROOT / "docs" / "messages.md").read_text()
    messages = re.findall(r"^\| `(.+?)` \|", page, re.MULTILINE)
    assert len(messages) > 20
    messages.remove("coroutine 'dispatch' was never awaited")  # Python's own
    kinds = ("JobTimeout: ", "JobCrashed: ", "UnknownJob: ")
    said = [functools.reduce(str.removeprefix, kinds, one) for one in messages]
    pieces = {piece.strip(' "()') for one in said for piece in one.split("…")}
    assert [piece for piece in pieces if piece not in SOURCES] == []


def test_every_page_is_found_from_the_first_one() -> None:
    first = (ROOT / "docs" / "index.md").read_text()
    nav = (ROOT / "mkdocs.yml").read_text()
    for page in PAGES[1:]:
        name = str(page.relative_to(ROOT / "docs"))
        assert f": {name}\n" in nav, name
        assert name == "index.md" or f"({name}" in first, name
