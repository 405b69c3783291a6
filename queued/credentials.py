"""Secrets in files: what ``${file:NAME}`` in queue.yaml stands for.

Service managers and containers hand secrets over as files (systemd's ``LoadCredential=``, Docker's
/run/secrets, volumes of Kubernetes): unlike a variable, a file has a mode and no child inherits it.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

LARGEST = 64 << 10
"""Bytes; what holds more is no secret but a mistake."""


class Unreadable(ValueError):
    """A file cannot be used. The message names it and shows nothing of what it holds."""


class Missing(Unreadable):
    """There is no such file, or nothing in it."""


def read(name: str, environ: Mapping[str, str], folder: Path, *, reference: bool = True) -> str:
    """Return the text of a file, without the line break at its end.

    :param name: a path; a relative one starts in the service manager's $CREDENTIALS_DIRECTORY, or
        without that in ``folder``.
    :param reference: messages begin with the ``${file:NAME}`` that stood in queue.yaml.
    :raises Missing: it is not there, or empty.
    :raises Unreadable: it cannot be read, is no regular file, too large, or no text.
    """
    given = environ.get("CREDENTIALS_DIRECTORY")
    path = (Path(given) if given else folder) / name
    shown = f"${{file:{name}}}: {path}" if reference else str(path)
    try:
        raw = _bytes(path, shown)
    except (FileNotFoundError, NotADirectoryError):
        hint = "" if given or path == Path(name) else "; CREDENTIALS_DIRECTORY is not set"
        raise Missing(f"{shown}: no such file{hint}") from None
    except (OSError, ValueError) as error:
        if isinstance(error, Unreadable):
            raise
        reason = getattr(error, "strerror", None) or "it is no name of a file"
        raise Unreadable(f"{shown}: cannot be read: {reason}") from None
    try:
        text = raw.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise Unreadable(f"{shown}: is not UTF-8 text") from None
    if not text:
        raise Missing(f"{shown}: is empty")
    return text


def _bytes(path: Path, shown: str) -> bytes:
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for who writes to it
        raise Unreadable(f"{shown}: is {'a folder' if path.is_dir() else 'no regular file'}")
    with path.open("rb") as file:
        raw = file.read(LARGEST + 1)
    if len(raw) > LARGEST:
        raise Unreadable(f"{shown}: is over {LARGEST >> 10} KiB; is it the right file?")
    return raw
