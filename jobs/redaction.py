"""Which names look as if their values were secret, and values and texts with those hidden.

A net below the user's own care, not a replacement for it.
"""

from __future__ import annotations

import re
from typing import Any

HIDDEN = "***"

_SECRET = re.compile(
    r"pass(?:word|wd|phrase|code)|pwd|secret|token|api_?key|private_?key|access_?key|auth(?:$|_|oriz)"
    r"|credential|cookie|bearer|(?:^|_)(?:pin|otp|cvv|cvc|jwt)(?:$|_)|card_?number|session_?(?:id|key)",
    re.IGNORECASE,
)

_NAMES = (
    r"(?:passw(?:or)?d|passphrase|secret|token(?!s)|credential|authorization|cookie"
    r"|(?:api|private|access|signing|encryption)[_-]?key)"
)
SECRET_NAME = re.compile(_NAMES, re.IGNORECASE)
"""In a text such names are looked for that hardly stand there by chance."""

# The bounds are there so that 16 KB of text take a tenth of a second at most, whoever wrote it.
_QUOTED = re.compile(
    rf"""({_NAMES}[\w-]{{0,40}}['"]?\s{{0,9}}[=:]\s{{0,9}}b?)(['"])(?:\\.|(?!\2).)*\2""",
    re.IGNORECASE,
)
_PLAIN = re.compile(rf"({_NAMES}[\w-]{{0,40}}=)[^\s&,;'\"()]+", re.IGNORECASE)
_HEADER = re.compile(r"(authorization:\s{0,9}(?:\w{1,40}\s{1,9})?)[^\s'\"]+", re.IGNORECASE)
_USERINFO = re.compile(r"(?<=://)([^\s:@/?#'\"]{0,200}):([^\s'\"]{0,2000})@")


def redact_text(text: str) -> str:
    """Return ``text`` without passwords in URLs, ``password=...`` and such."""
    if "://" in text:
        text = _USERINFO.sub(r"\1:***@", text)
    if SECRET_NAME.search(text):
        text = _QUOTED.sub(r"\1\2***\2", text)
        text = _PLAIN.sub(r"\1***", text)
        text = _HEADER.sub(r"\1***", text)
    return text


def looks_secret(name: str) -> bool:
    """Say whether a field of that name is likely to hold a secret."""
    return _SECRET.search(name) is not None


def redact(value: Any) -> Any:
    """Return plain JSON data with the values under secret-looking names replaced.

    Texts are looked through, too: a URL may have a password.
    """
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, dict):
        return {
            name: HIDDEN if looks_secret(str(name)) else redact(inner)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [redact(inner) for inner in value]
    return value
