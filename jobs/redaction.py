"""Which names look as if their values were secret, and values with those hidden."""

from __future__ import annotations

import re
from typing import Any

HIDDEN = "***"

_SECRET = re.compile(
    r"pass(?:word|wd|phrase|code)|pwd|secret|token|api_?key|private_?key|access_?key|auth(?:$|_|oriz)"
    r"|credential|cookie|bearer|(?:^|_)(?:pin|otp|cvv|cvc|jwt)(?:$|_)|card_?number|session_?(?:id|key)",
    re.IGNORECASE,
)


def looks_secret(name: str) -> bool:
    """Say whether a field of that name is likely to hold a secret."""
    return _SECRET.search(name) is not None


def redact(value: Any) -> Any:
    """Return plain JSON data with the values under secret-looking names replaced."""
    if isinstance(value, dict):
        return {
            name: HIDDEN if looks_secret(str(name)) else redact(inner)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [redact(inner) for inner in value]
    return value
