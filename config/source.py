"""From a path to composed YAML; whatever stops that is a ``ConfigError`` of one line."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import yaml

from queued.config.problems import MINIMAL
from queued.errors import ConfigError

LARGEST_FILE = 256 << 10
"""Bytes. A thousand queues fit; more takes PyYAML seconds to read."""

_YAML_SENTENCES = (
    (r"character '\\t'", "a tab cannot indent in YAML; use spaces"),
    (
        r"mapping values are not allowed",
        "unexpected ':'; check the indentation, quote text with it",
    ),
    (r"expected <block end>, but found '(<block|\?|-)", "the indentation fits no line above it"),
    (r"character '([@`%])'", r"text that starts with \1 needs quotes"),
    (r"found undefined alias (.*)", r"the alias *\1 is not defined above; quote text with a *"),
    (r"but found another document", "one document is expected; remove the '---' between two"),
    (r"unexpected end of stream", "a quote is opened here and never closed"),
    (r"but (?:found|got) '<stream end>'", "a bracket is opened and never closed"),
    (r"unknown escape character (.*)", r"'\\\1 is no escape in double quotes; use single quotes"),
)


def compose(path: Path, name: str) -> yaml.Node:
    """Return the YAML of ``path``; ``name`` is how messages call it.

    :raises ConfigError: it cannot be read, is no YAML, or is empty.
    """
    text = _read(path, name)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        if "<stream end>" in (error.problem or "") and error.context_mark:
            mark = error.context_mark  # where the bracket is, rather than where the file ends
        line = mark.line + 1 if mark else 1
        raise ConfigError([f"{name}:{line}: {_sentence(error, text, line)}"]) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        sign = (
            f"U+{ord(error.character) if isinstance(error.character, str) else error.character:04X}"
        )
        raise ConfigError([f"{name}:{line}: the character {sign} is not allowed"]) from None
    except RecursionError:
        raise ConfigError([f"{name}: nested too deeply"]) from None
    if root is None:
        raise ConfigError([f"{name}: is empty; the least that works is: {MINIMAL}"])
    return root


def _read(path: Path, name: str) -> str:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            what = "a folder" if path.is_dir() else "no regular file"
            raise ConfigError([f"{name}: is {what}; name the file with -c"])
        with path.open("rb") as file:
            raw = file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        hint = f"create one ({MINIMAL} is enough) or name another with -c"
        raise ConfigError([f"{name}: no such file; {hint}"]) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError([f"{name}: cannot be read: {reason}"]) from None
    if len(raw) > LARGEST_FILE:
        raise ConfigError([f"{name}: is over 256 KiB; is it a queue.yaml?"])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{name}:{line}: is not UTF-8; save the file as UTF-8"]) from None


def _sentence(error: yaml.MarkedYAMLError, text: str, line: int) -> str:
    """Say what PyYAML means, in words for people who do not know its scanner."""
    problem = error.problem or error.context or "not valid YAML"
    lines = text.splitlines()
    if "${" in (lines[line - 1] if line <= len(lines) else "") and "got '{'" in problem:
        return 'inside {...} or [...] a ${VAR} needs quotes: "${VAR}"'
    for pattern, sentence in _YAML_SENTENCES:
        match = re.search(pattern, problem)
        if match:
            return f"not valid YAML: {match.expand(sentence)}"
    return f"not valid YAML: {problem}"
