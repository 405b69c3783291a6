"""A failed job as one line of JSON, and back.

Every field of ``FailedJob`` under its name, and ``version``. Bytes are text where they are UTF-8,
else ``{"base64": "..."}``.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from dataclasses import MISSING, fields
from typing import Any

from queued.drivers.base import ID_PATTERN, QUEUE_PATTERN, Counts, FailedJob, NewJob
from queued.drivers.sequel import Parcel, Sequel, links

VERSION = 1
LATEST = 1e11
"""Seconds since the epoch: what is later (or no number at all) is no time."""

_TYPES: dict[str, Any] = {
    "float": (int, float),
    "int": int,
    "bool": bool,
    "str": str,
    "str | None": (str, type(None)),
}
_PATTERNS = {"id": ID_PATTERN, "queue": QUEUE_PATTERN}


def line_of(one: FailedJob) -> str:
    """Return a failed job as JSON on one line."""
    values: dict[str, Any] = {"version": VERSION}
    for field in fields(one):
        values[field.name] = _out(getattr(one, field.name))
    return json.dumps(values, ensure_ascii=True, separators=(",", ":"))


def failure_of(line: bytes) -> FailedJob:
    """Return the failed job of a line.

    :raises ValueError: it is none; the message says why.
    """
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"this is no JSON ({error})") from None
    if not isinstance(values, dict) or values.get("version") != VERSION:
        raise ValueError(f'expected an object with "version": {VERSION}')
    found: dict[str, Any] = {}
    for field in fields(FailedJob):
        if field.name in values:
            found[field.name] = _in(field.name, str(field.type), values.pop(field.name))
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f'"{field.name}" is missing')
    if found.get("sequel"):
        _check_sequel(found["sequel"])
    del values["version"]
    if values:  # of a newer queued: what it means would be lost
        raise ValueError(f'"{next(iter(values))}" is not known to this version of queued')
    return FailedJob(**found)


def _out(value: Any) -> Any:
    if isinstance(value, Counts):
        return value._asdict()
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(value).decode()}


def _in(name: str, kind: str, value: Any) -> Any:
    if kind == "bytes":
        return _bytes(name, value)
    if kind == "Counts":
        return _counts(name, value)
    fits = isinstance(value, _TYPES.get(kind, object))
    if not fits or (isinstance(value, bool) and kind != "bool"):
        raise ValueError(f'"{name}": expected {kind}, got {type(value).__name__}')
    pattern = _PATTERNS.get(name)
    if pattern is not None and not pattern.fullmatch(value):
        raise ValueError(
            f'"{name}": expected up to 64 letters, digits and _.:-, got {value[:80]!r}'
        )
    if kind == "float" and not 0 <= value < LATEST:
        raise ValueError(f'"{name}": expected seconds since 1970, got {value}')
    return value


def _bytes(name: str, value: Any) -> bytes:
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError:
            raise ValueError(f'"{name}": it has lone surrogates, which are no UTF-8') from None
    if isinstance(value, dict) and set(value) == {"base64"} and isinstance(value["base64"], str):
        try:
            return b64decode(value["base64"], validate=True)
        except ValueError:
            pass
    raise ValueError(f'"{name}": expected a text, or {{"base64": "..."}}')


def _counts(name: str, value: Any) -> Counts:
    if isinstance(value, dict) and set(value) <= set(Counts._fields):
        numbers = value.values()
        if all(type(one) is int and 0 <= one < 2**31 for one in numbers):
            return Counts(**value)
    raise ValueError(f'"{name}": expected numbers under {", ".join(Counts._fields)}')


def _check_sequel(sequel: bytes) -> None:
    """Look at what follows a job: a back-end that cannot read it could not end the job."""
    try:
        for link in links(Parcel("q", NewJob("id", b"", sequel=sequel))):
            if link.job.sequel and (catch := Sequel.of(link.job.sequel).catch):
                Parcel.of(catch)
    except (ValueError, TypeError):
        raise ValueError('"sequel": it cannot be read') from None
