"""The envelope: a line of JSON that names the class, then the body.

    {"v":1,"job":"app.jobs.SendEmail"}
    {"to":"a@b.c","subject":"Hello"}

They are kept apart so that the header, the same for every job of a class, is looked up and not
parsed, and the body is parsed once, straight into its type. (A program that traces adds to the
header whose trace the job belongs to: see ``trace_context``.) A payload is data: a name that is not
registered is refused, never imported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from queued.errors import (
    CorruptPayload,
    InvalidJob,
    JobDefinitionError,
    PayloadTooLarge,
    UnknownJob,
)
from queued.jobs import registry
from queued.jobs.job import Job
from queued.jobs.redaction import looks_secret, redact, redact_text
from queued.jobs.text import one_line
from queued.jobs.trace_context import MAX_HEADER, without_context
from queued.units import format_size

if TYPE_CHECKING:
    from queued.jobs.codec import Codec

VERSION = 1
MAX_PAYLOAD = 2**20
"""Bytes that a payload may have, envelope included."""

_MAX_HEADERS = 4_096
_names: dict[bytes, str] = {}
"""Headers seen, by their bytes: only of registered classes, so garbage cannot fill it."""


def encode(job: Job, limit: int = MAX_PAYLOAD) -> bytes:
    """Validate a job and return its payload.

    :raises InvalidJob: a value does not fit its field; the message names each.
    :raises PayloadTooLarge: it is longer than ``limit`` bytes.
    :raises JobDefinitionError: no worker could run a job of that class.
    """
    cls = type(job)
    definition = getattr(cls, "__queued__", None)
    codec = definition.codec if definition is not None else None
    if codec is None or not codec.header:
        codec = _dispatchable(job)
    payload: bytes = codec.header + codec.dump(job)
    if len(payload) > limit:
        raise PayloadTooLarge(
            f"{cls.__name__} has {format_size(len(payload))} of payload and at most"
            f" {format_size(limit)} are taken: store the data elsewhere and dispatch its id"
        )
    return payload


def decode(payload: bytes) -> Job:
    """Make a fresh job of a payload. What a RouteMQ-style ``__init__`` raises is passed on.

    :raises UnknownJob: its class is not registered, or cannot be used.
    :raises CorruptPayload: it is no payload, or its body does not fit the class.
    """
    end = payload.find(b"\n")
    name = _name(payload[:end] if end >= 0 else payload)
    cls = registry.lookup(name)
    codec = cls.__queued__.codec
    if codec is None:
        try:
            codec = prepare(cls)
        except JobDefinitionError as error:
            raise UnknownJob(f"{name} is registered, but cannot be used: {error}") from error
    if end < 0:
        raise CorruptPayload(f"{name}: the payload has no body")
    return codec.load(payload[end + 1 :])


def build(name: str, body: bytes) -> Job:
    """Make a job of a class's name and its fields as JSON, as people type them.

    :raises UnknownJob: no such class.
    :raises InvalidJob: the fields do not fit.
    """
    try:
        return prepare(registry.lookup(name)).load(body)
    except CorruptPayload as error:
        raise InvalidJob(str(error)) from None


def of_fields(name: str, fields: Mapping[str, Any]) -> bytes:
    """Return the payload of a class that is known by its name alone, for who has not its code.

    The worker checks the fields when it reads them.
    """
    header = {"v": VERSION, "job": name}
    parts = (json.dumps(one, separators=(",", ":")) for one in (header, dict(fields)))
    return "\n".join(parts).encode()


def prepare(cls: type[Job]) -> Codec:
    """Build the codec of a class now: before a fork, or to find what is wrong with its fields.

    :raises JobDefinitionError: an annotation cannot be resolved, or its type has no JSON.
    """
    definition = cls.__queued__
    if definition.codec is None:
        from queued.jobs.codec import Codec  # noqa: PLC0415 - loads pydantic

        definition.codec = Codec(cls)
    return definition.codec


def job_name(payload: bytes) -> str | None:
    """Return the class that a payload names, whether registered or not; None if it names none."""
    header = payload[: max(0, payload.find(b"\n"))]
    try:
        return _name(header)
    except (CorruptPayload, UnknownJob):
        return None


def body_text(payload: bytes, *, reveal: bool = False) -> str:
    """Return a payload's body on one line for people to read, whatever it holds.

    Fields whose names look secret are hidden unless ``reveal``, and what is no JSON is hidden whole
    when something in it looks like such a name.
    """
    body = payload[payload.find(b"\n") + 1 :]
    try:
        fields = json.loads(body.decode())
        text = json.dumps(fields if reveal else redact(fields), ensure_ascii=False)
    except (ValueError, RecursionError):
        text = body.decode("utf-8", errors="backslashreplace")
        if not reveal and looks_secret(text):
            return f"({format_size(len(body))} that are no JSON and may hold a secret)"
        text = text if reveal else redact_text(text)
    return one_line(text, limit=MAX_PAYLOAD)


def _dispatchable(job: Any) -> Codec:
    """Return the codec of a job's class with its header made."""
    if not isinstance(job, Job):
        said = f"the class {job.__name__}" if isinstance(job, type) else f"a {type(job).__name__}"
        raise InvalidJob(f"expected an instance of a Job class, got {said}")
    cls = type(job)
    if cls.handle is Job.handle:
        raise JobDefinitionError(f"{cls.__name__} has no handle(), so there is nothing to run")
    name = cls.__queued__.name
    if name.partition(".")[0] in registry.SCRIPTS:
        raise JobDefinitionError(
            f"{cls.__name__} is defined in the script being run, where no worker finds it:"
            " move it to a module that imports names, or give it a name = ..."
        )
    codec = prepare(cls)
    header = json.dumps({"v": VERSION, "job": name}, separators=(",", ":"))
    codec.header = header.encode() + b"\n"
    return codec


def _name(header: bytes) -> str:
    name = _names.get(header)
    if name is None:
        plain = without_context(header)
        name = _names.get(plain) or _read_header(plain)
    return name


def _read_header(header: bytes) -> str:
    try:
        fields = json.loads(header.decode()) if len(header) <= MAX_HEADER else None
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict) or not isinstance(fields.get("job"), str):
        raise CorruptPayload("this is no payload of queued: its first line is no header")
    if fields.get("v") != VERSION:
        version = one_line(repr(fields.get("v")), 40)
        raise CorruptPayload(f"the payload has version {version}, and this queued reads {VERSION}")
    name = one_line(fields["job"], MAX_HEADER)  # it is printed, logged and a label of metrics
    if name in registry.registered() and len(_names) < _MAX_HEADERS:
        _names[header] = name
    return name
