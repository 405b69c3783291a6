"""The first line of a payload: which class it is of, whatever else stands there."""

from __future__ import annotations

import json
from typing import NamedTuple

from queued.errors import CorruptPayload
from queued.jobs import registry
from queued.jobs.signing import without_signature
from queued.jobs.text import one_line
from queued.jobs.trace_context import MAX_HEADER, without_context

VERSION = 1

_MAX_HEADERS = 4_096
_headers: dict[bytes, Header] = {}
"""Headers seen, by their bytes: only of registered classes, so garbage cannot fill it."""


class Header(NamedTuple):
    """What the first line of a payload says."""

    job: str
    """The class, whether registered or not."""
    encrypted: bool = False
    """The body is."""


def plain_header(header: bytes) -> bytes:
    """Return a header as all jobs of its class have it: without signature and trace."""
    return without_signature(without_context(header))


def header_of(line: bytes) -> Header:
    """Return what the first line of a payload says.

    :raises CorruptPayload: it is no header of ours.
    """
    header = _headers.get(line)
    if header is None:
        plain = plain_header(line)
        header = _headers.get(plain) or _read_header(plain)
    return header


def _read_header(line: bytes) -> Header:
    try:
        fields = json.loads(line.decode()) if len(line) <= MAX_HEADER else None
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict) or not isinstance(fields.get("job"), str):
        raise CorruptPayload("this is no payload of queued: its first line is no header")
    if fields.get("v") != VERSION:
        version = one_line(repr(fields.get("v")), 40)
        raise CorruptPayload(f"the payload has version {version}, and this queued reads {VERSION}")
    name = one_line(fields["job"], MAX_HEADER)  # it is printed, logged and a label of metrics
    header = Header(name, encrypted="enc" in fields)
    if name in registry.registered() and len(_headers) < _MAX_HEADERS:
        _headers[line] = header
    return header
