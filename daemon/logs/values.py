"""What of a value is written: it is plain, of a bounded size, and looks like no secret."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from queued.daemon.logs.veils import text_of
from queued.jobs.redaction import SECRET_NAME, redact_text

LONGEST_TEXT = 16_384
"""Characters of one value; more is cut off."""
DEEPEST = 6
"""Levels of nested values; deeper ones are written as text."""
_LARGEST = 10**300
"""What is beyond it is written as text: Python refuses to write some thousand digits."""


def clean(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of plain values without what looks like a secret; what is not plain is text."""
    return {str(name): _clean_value(name, value, DEEPEST) for name, value in event.items()}


def _clean_value(name: Any, value: Any, depth: int) -> Any:
    try:
        return _cleaned(str(name), value, depth)
    except Exception as error:  # noqa: BLE001 - a value's own code must cost neither line nor job
        return f"<{type(value).__name__} whose text raised {type(error).__name__}>"


def _cleaned(name: str, value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if SECRET_NAME.search(name):
        return "***"
    if isinstance(value, int | float) and -_LARGEST <= value <= _LARGEST:  # nan is not
        return value
    if isinstance(value, Mapping) and depth:
        return {str(key): _clean_value(key, item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset) and depth:
        names: Iterable[str] = itertools.repeat("")
        if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):  # noqa: PLR2004 - a pair, as of headers
            names = ("", value[0])
        return [_clean_value(name, item, depth - 1) for name, item in zip(names, value)]  # noqa: B905 - one may be endless
    return redact(text_of(value))


def redact(text: str) -> str:
    """Return ``text`` without what looks like a secret, cut to ``LONGEST_TEXT``."""
    if len(text) > LONGEST_TEXT:
        text = f"{text[:LONGEST_TEXT]}... ({len(text) - LONGEST_TEXT} more characters)"
    return redact_text(text)
