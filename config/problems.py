"""What is wrong with queue.yaml, one line each: ``queue.yaml:12: queues.emails.sleep: ...``."""

from __future__ import annotations

import re
from typing import NamedTuple

KeyPath = tuple[str | int, ...]

MINIMAL = "queues: {default: {}}"
"""The smallest file that works; messages show it."""

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_.:-]+")
_LONGEST_VALUE = 60


class Problem(NamedTuple):
    """One problem (or warning) and the key that it is about; the loader knows the key's line."""

    path: KeyPath
    message: str
    line: int | None = None
    """Where the path's own line is not the right one."""


def format_path(path: KeyPath) -> str:
    """Return ``queues.emails.sleep``, with quotes around keys that would confuse."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += "." * bool(text) + (part if _PLAIN_KEY.fullmatch(part) else repr(part))
    return text


def show(value: object) -> str:
    """Return ``value`` as a message shows it: short, on one line, and in YAML's own words."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case dict():
            return "a mapping"
        case list():
            return "a list"
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


def listed(names: list[str]) -> str:
    """Return ``a, b or c``."""
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
