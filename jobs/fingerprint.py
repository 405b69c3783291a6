"""Which failures are the same: by exception, by where it was raised, and by what it says.

What differs from one job to the next is left out of the text: numbers, ids, quoted values. So ten
thousand failures are the three faults that they come from.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import PurePosixPath
from typing import NamedTuple

from queued.jobs.text import one_line

LONGEST = 200
"""Characters of the text that are compared, and shown."""

_FRAME = re.compile(r'^[\s|+-]*File "(.+)", line \d+, in (.+)$', re.MULTILINE)
_CHAIN = re.compile(
    r"^\s*(?:During handling of the above exception, another exception occurred"
    r"|The above exception was the direct cause of the following exception):$",
    re.MULTILINE,
)
_FOREIGN = re.compile(r"/(?:site|dist)-packages/|/lib(?:64)?/python3[\d.]*/|^<")
_VARIABLE = (
    (re.compile(r"(?<!\w)'[^']*'(?!\w)"), "'…'"),
    (re.compile(r'"[^"]*"'), '"…"'),
    (re.compile(r"`[^`]*`"), "`…`"),
    (re.compile(r"[^\s@<>()]+@[^\s@<>()]+"), "…@…"),
    (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.IGNORECASE), "<id>"),
    (re.compile(r"\b0x[0-9a-f]+\b", re.IGNORECASE), "<id>"),
    (re.compile(r"\b(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{8,}\b", re.IGNORECASE), "<id>"),
    (re.compile(r"\d+(?:[.,:]\d+)*"), "N"),
)


class Fingerprint(NamedTuple):
    """What a failure has in common with others."""

    id: str
    """12 hex digits, the same on every host."""
    kind: str
    """The exception's class, with its module."""
    where: str
    """``jobs/mail.py:handle``, the innermost frame of the user's own code; empty: it is unknown."""
    message: str
    """What it says, without what varies."""


def fingerprint(record: bytes) -> Fingerprint:
    """Return the fingerprint of a failed job's record; one that cannot be read has one, too."""
    try:
        values = json.loads(record)
        kind, error = str(values["type"]), str(values["error"])
        trace = str(values.get("traceback") or "")
    except (ValueError, TypeError, KeyError, RecursionError):
        kind, error, trace = "", record[:LONGEST].decode(errors="backslashreplace"), ""
    message = constant_part(error.removeprefix(f"{kind.rpartition('.')[2]}: "))
    where = raised_in(trace)
    digest = hashlib.sha256(f"{kind}\n{where}\n{message}".encode(errors="replace"))
    return Fingerprint(digest.hexdigest()[:12], kind, where, message)


def constant_part(text: str) -> str:
    """Return a message with its numbers, ids and quoted values replaced."""
    text = text[: 10 * LONGEST]
    for pattern, instead in _VARIABLE:
        text = pattern.sub(instead, text)
    return one_line(" ".join(text.split()), LONGEST)


def raised_in(trace: str) -> str:
    """Return the last frame of a traceback that is neither Python's nor a package's."""
    frames = _FRAME.findall(_CHAIN.split(trace)[-1]) or _FRAME.findall(trace)
    own = [frame for frame in frames if not _FOREIGN.search(frame[0])] or frames
    if not own:
        return ""
    path, function = own[-1]
    return f"{'/'.join(PurePosixPath(path).parts[-2:])}:{function}"
