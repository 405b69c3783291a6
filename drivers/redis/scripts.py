"""The Lua scripts: one for each verb, in ``lua/``, with their shared parts in ``lua/_*.lua``.

A line ``-- include _clock`` stands for the text of ``_clock.lua``, which may include others. The
line ``-- KEYS …`` of a script names its keys, in order, and is read from here too, so that the two
cannot disagree.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_INCLUDE = re.compile(r"^ *-- include (\w+)$", re.MULTILINE)
_KEYS = re.compile(r"^-- KEYS (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Script:
    """A script as the server gets it. ``keys`` are the names of its keys within a queue."""

    text: str
    sha: str
    keys: tuple[str, ...]


@cache
def scripts() -> dict[str, Script]:
    """Return every script by its verb."""
    texts = {
        name.removesuffix(".lua"): file.read_text(encoding="utf-8")
        for file in files("queued.drivers.redis").joinpath("lua").iterdir()
        if (name := file.name).endswith(".lua")
    }
    return {verb: _script(text, texts) for verb, text in texts.items() if not verb.startswith("_")}


@cache
def loads() -> tuple[tuple[str, str, str], ...]:
    """Return the commands that have a server know every script."""
    return tuple(("SCRIPT", "LOAD", script.text) for script in scripts().values())


def is_reservation(command: Sequence[object]) -> bool:
    """Tell whether a command reserves: it may be sent again, which its nonce makes safe."""
    return command[0] == "EVALSHA" and command[1] == scripts()["reserve"].sha


def _script(text: str, parts: dict[str, str]) -> Script:
    keys = _KEYS.search(text)
    assert keys, "every script names its keys"
    while _INCLUDE.search(text):
        text = _INCLUDE.sub(lambda line: parts[line[1]].rstrip(), text)
    # SHA-1 is how the server names scripts; it protects nothing.
    sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    return Script(text, sha, tuple(keys[1].split()))
