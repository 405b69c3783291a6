"""Text that others wrote, made safe to store, log and print."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches

# What ends a line, moves a terminal's cursor, reorders text or cannot be encoded.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_UNSAFE_IN_LINES = re.compile(rf"(?![\n\t]){_UNSAFE.pattern}")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def one_line(text: str, limit: int = 500) -> str:
    """Return ``text`` as one line of at most ``limit`` characters, control characters escaped."""
    safe = _UNSAFE.sub(_escape, text[: limit + 1])
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"


def safe_lines(text: str) -> str:
    """Return ``text`` with its lines kept and every other control character escaped."""
    return _UNSAFE_IN_LINES.sub(_escape, text)


def error_text(
    error: BaseException, limit: int = 500, veil: Callable[[str], str] | None = None
) -> str:
    """Return ``ValueError: boom``, on one line; ``veil`` hides what is not to be seen of it."""
    kind = type(error).__name__
    try:
        said = str(error)
    except BaseException:  # noqa: BLE001 - a user's may fail to print itself, and raise anything
        said = "(its message cannot be printed)"
    if veil is not None:
        said = veil(said)
    return one_line(f"{kind}: {said}" if said else kind, limit)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean "subject"?`` for a name close to one that is known, else nothing."""
    matches = get_close_matches(name, list(known), n=1)
    return f'; did you mean "{matches[0]}"?' if matches else ""


def _escape(match: re.Match[str]) -> str:
    char = match[0]
    code = ord(char)
    return _SHORT.get(char) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")  # noqa: PLR2004
