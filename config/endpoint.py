"""A webhook's URL and secret: what is right.

The URL is a secret, too (Slack's is all that one needs to post), so no message shows a part of it.
"""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import urlsplit

PREFIX = "whsec_"
SHORTEST_SECRET, LONGEST_SECRET = 24, 64
"""Bytes, as Standard Webhooks has them."""
_MAKE = "make one: openssl rand -base64 32 | sed 's/^/whsec_/'"


def check_url(url: str) -> str:
    """Return ``url``; empty, as a variable may be, is right: nothing is posted.

    :raises ValueError: no post can go there; nothing of the URL is in the message.
    """
    if not url:
        return url
    if not re.fullmatch(r"[!-~]+", url):
        raise ValueError("expected a URL without spaces, line ends or letters beyond ASCII")
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        has_host = False
    if not has_host or parts.scheme not in {"http", "https"}:
        raise ValueError("expected a URL such as https://hooks.example.com/path")
    if "@" in parts.netloc:
        raise ValueError("a user and password in the URL are not sent; use a secret instead")
    return url


def check_secret(secret: str) -> str:
    """Return ``secret``; empty, as a variable may be, is right: nothing is signed.

    :raises ValueError: it is none, or an easy one; nothing of it is in the message.
    """
    if not secret:
        return secret
    if not secret.startswith(PREFIX):
        raise ValueError(f"expected {PREFIX} and base64; {_MAKE}")
    try:
        key = decode_secret(secret)
    except binascii.Error:
        raise ValueError(f"what follows {PREFIX} is no base64; {_MAKE}") from None
    if not SHORTEST_SECRET <= len(key) <= LONGEST_SECRET:
        limits = f"{SHORTEST_SECRET} to {LONGEST_SECRET} bytes"
        raise ValueError(f"expected {limits} in base64, got {len(key)}; {_MAKE}")
    return secret


def decode_secret(secret: str) -> bytes:
    """Return the key that a secret stands for.

    :raises binascii.Error: it stands for none.
    """
    text = secret.removeprefix(PREFIX)
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
