"""A webhook's URL and secret: what is right, and how they are read from files.

The URL is a secret, too (Slack's is all that one needs to post), so no message shows a part of it.
"""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from queued.config.problems import Problem

if TYPE_CHECKING:
    from queued.config.schema import Webhook

PREFIX = "whsec_"
SHORTEST_SECRET, LONGEST_SECRET = 24, 64
"""Bytes, as Standard Webhooks has them."""
LARGEST_FILE = 4_096
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


def resolved(webhook: Webhook, folder: Path) -> tuple[Webhook, list[Problem]]:
    """Return ``webhook`` with its files read, and what is wrong.

    :param folder: where relative paths start.
    """
    values: dict[str, str] = {}
    problems: list[Problem] = []
    for key, check in (("url", check_url), ("secret", check_secret)):
        name = getattr(webhook, f"{key}_file")
        if name is None:
            continue
        path = ("webhook", f"{key}_file")
        if getattr(webhook, key) is not None:
            problems.append(Problem(path, f"{key} is there, too; leave one of them out"))
            continue
        try:
            values[key] = check(_read(folder / name))
        except OSError as error:
            problems.append(Problem(path, f"cannot be read: {error.strerror or error}"))
        except ValueError as error:
            problems.append(Problem(path, f"holds the wrong thing: {error}"))
    if webhook.url is None and webhook.url_file is None:
        problems.append(Problem(("webhook",), "url is missing: where are alerts to be posted?"))
    return webhook.model_copy(update=values), problems


def _read(path: Path) -> str:
    with path.open("rb") as file:
        raw = file.read(LARGEST_FILE + 1)
    if len(raw) > LARGEST_FILE:
        raise ValueError(f"over {LARGEST_FILE} bytes")
    try:
        text = raw.decode().strip()
    except UnicodeDecodeError:
        raise ValueError("no text in UTF-8") from None
    if not text:
        raise ValueError("nothing")
    return text
