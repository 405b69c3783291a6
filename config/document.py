"""queue.yaml as a plain tree, with the line of every key and the environment filled in.

YAML is read more strictly than PyYAML's own loader does: plain scalars follow YAML 1.2 (``yes`` is
text, ``1:30`` and ``010`` are no numbers), a key given twice is a problem, and so is any tag.
A variable or a file is put in after parsing, so what it holds can never become YAML.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from queued.config.problems import KeyPath, Problem, show
from queued.environment import expand

MOST_NODES = 20_000
"""Aliases can make a small file huge, or deep; no queue.yaml comes near these."""
DEEPEST = 50

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]{1,3})?")
_CONSTANTS = {"": None, "~": None, "null": None, "true": True, "false": False}
_PLAIN_TAGS = {
    f"tag:yaml.org,2002:{name}"
    for name in ("str", "int", "float", "bool", "null", "timestamp", "value", "merge", "map", "seq")
}
_MERGE_TAG = "tag:yaml.org,2002:merge"
_DROPPED = object()


class _TooMuchError(Exception):
    """There are more values than ``MOST_NODES``."""


class Expanded(str):
    """Text from the environment or a file. Its repr shows the reference, never the value."""

    __slots__ = ("source",)
    source: str

    def __repr__(self) -> str:
        return self.source


@dataclass
class Document:
    """What a file says. A value that could not be read is left out, and its problem listed."""

    tree: dict[str, Any] = field(default_factory=dict)
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line(self, path: KeyPath) -> int | None:
        """Return the line of ``path``, or of the nearest key above it that the file has."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return None


def build(root: yaml.Node, environ: Mapping[str, str], folder: Path) -> Document:
    """Turn composed YAML into a ``Document``; ``folder`` is where the file lies."""
    builder = _Builder(environ, folder)
    document = builder.document
    tree: Any = _DROPPED
    try:
        tree = builder.value(root, ())
    except _TooMuchError:
        document.problems = document.problems[-1:]
    if isinstance(tree, dict):
        document.tree = tree
    elif not document.problems:
        document.problems.append(
            Problem((), f"expected a mapping such as 'queues: {{default: {{}}}}', got {show(tree)}")
        )
    return document


def typed(text: str) -> Any:
    """Return what a plain scalar of YAML 1.2 means: a number, true, false, nothing, or text."""
    if text.lower() in _CONSTANTS and text in {text.lower(), text.title(), text.upper()}:
        return _CONSTANTS[text.lower()]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


class _Builder:
    def __init__(self, environ: Mapping[str, str], folder: Path) -> None:
        self.environ = environ
        self.folder = folder
        self.document = Document()
        self.nodes = 0
        self.open: list[yaml.Node] = []

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        self.nodes += 1
        if self.nodes > MOST_NODES:
            self.problem((), f"more than {MOST_NODES} values, aliases included", node)
            raise _TooMuchError
        if any(node is other for other in self.open):
            return self.problem(path, "an alias refers to what it is part of", node)
        if len(self.open) > DEEPEST:
            return self.problem(path[:DEEPEST], "nested too deeply", node)
        if node.tag not in _PLAIN_TAGS:
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            return self.problem(path, f"tags are not supported: leave out {show(tag)}", node)
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, path)
        self.open.append(node)
        built: Any
        if isinstance(node, yaml.MappingNode):
            built = self.mapping(node, path)
        else:
            built = self.sequence(node, path)
        self.open.pop()
        return built

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for key, key_node, value_node in self.entries(node, path, set()):
            here = (*path, key)
            self.document.lines[here] = key_node.start_mark.line + 1
            built = self.value(value_node, here)
            if built is not _DROPPED:
                tree[key] = built
        return tree

    def sequence(self, node: yaml.Node, path: KeyPath) -> list[Any]:
        items = []
        for index, item in enumerate(node.value):
            here = (*path, index)
            self.document.lines[here] = item.start_mark.line + 1
            built = self.value(item, here)
            if built is not _DROPPED:
                items.append(built)
        return items

    def entries(
        self, node: yaml.MappingNode, path: KeyPath, seen: set[str]
    ) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        """Yield each key once: the mapping's own first, then what ``<<`` merges into it."""
        self.nodes += 1
        own: dict[str, int] = {}
        merged: list[yaml.Node] = []
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE_TAG:
                is_list = isinstance(value_node, yaml.SequenceNode)
                merged += value_node.value if is_list else [value_node]
                continue
            key = self.key(key_node, path)
            if key is None:
                continue
            line = key_node.start_mark.line + 1
            if key in own:
                self.problem((*path, key), f"given twice, first in line {own[key]}", key_node)
            elif key not in seen:
                own[key] = line
                yield key, key_node, value_node
        seen.update(own)
        for base in merged:
            if self.nodes > MOST_NODES:
                return
            if isinstance(base, yaml.MappingNode) and base is not node and base not in self.open:
                yield from self.entries(base, path, seen)
            else:
                self.problem(path, "<< merges a mapping, such as *defaults", base)

    def key(self, node: yaml.Node, path: KeyPath) -> str | None:
        if isinstance(node, yaml.ScalarNode) and node.tag in _PLAIN_TAGS and node.value:
            return str(node.value)
        message = "expected a key, got nothing"
        if not isinstance(node, yaml.ScalarNode):
            message = "expected a key, got a mapping or a list; is a text with braces in quotes?"
        self.problem(path, message, node)
        return None

    def scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        text = str(node.value)
        if "$" not in text:
            return text if node.style else typed(text)
        try:
            expanded = expand(text, self.environ, self.folder)
        except KeyError as error:
            name = error.args[0]
            message = (
                f"the environment variable {name} is not set; ${{{name}:-...}} gives a default"
            )
            return self.problem(path, message, node)
        except ValueError as error:
            return self.problem(path, str(error), node)
        if "${" not in text:
            return expanded
        value = Expanded(expanded)
        value.source = text
        return value

    def problem(self, path: KeyPath, message: str, node: yaml.Node) -> object:
        self.document.problems.append(Problem(path, message, node.start_mark.line + 1))
        return _DROPPED
