"""The envelope: a line of JSON that names the class, then the body.

    {"v":1,"job":"app.jobs.SendEmail"}
    {"to":"a@b.c","subject":"Hello"}

They are kept apart so that the header, the same for every job of a class, is looked up and not
parsed, and the body is parsed once, straight into its type. (A program that traces adds to the
header whose trace the job belongs to: see ``trace_context``. One that has keys signs: see
``signing``. The body of a class that asks for it is encrypted: see ``encryption``.) A payload is
data: a name that is not registered is refused, never imported.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from queued.errors import (
    CorruptPayload,
    EncryptionError,
    InvalidJob,
    JobDefinitionError,
    PayloadTooLarge,
    UnknownJob,
)
from queued.jobs import registry
from queued.jobs.header import VERSION, header_of
from queued.jobs.job import Job
from queued.jobs.redaction import looks_secret, redact, redact_text
from queued.jobs.signing import Signer
from queued.jobs.text import one_line
from queued.policy import LARGEST_PAYLOAD, Policy, find, payload_size
from queued.units import format_size

if TYPE_CHECKING:
    from queued.jobs.codec import Codec

signer: Signer | None = None
"""Signs what ``encode`` returns, and verifies what is read; None: this process has no key for it.
Of a producer it is known from its first ``encode`` on."""
_policy: Policy | None = None


def policy() -> Policy:
    """Return what holds for the payloads of this process, looked up when it is first needed.

    :raises ConfigError: the environment or queue.yaml says something that cannot be.
    """
    if _policy is None:
        adopt(find(os.environ, Path.cwd()))
    assert _policy is not None
    return _policy


def adopt(found: Policy | None) -> None:
    """Let ``found`` hold for this process from now on; None: look it up at the next need."""
    global _policy, signer  # noqa: PLW0603 - a process has one
    _policy = found
    signer = Signer(found.signing) if found is not None and found.signing else None
    for cls in registry.registered().values():
        if cls.__queued__.codec is not None:
            cls.__queued__.codec.header = b""  # made anew, with what holds now


def encode(job: Job, queue: str | None = None) -> bytes:
    """Validate a job and return its payload, for ``queue`` or else for that of the job.

    It is not signed yet: that takes the id. See ``pack``.

    :raises InvalidJob: a value does not fit its field; the message names each.
    :raises PayloadTooLarge: it is longer than ``max_payload``.
    :raises JobDefinitionError: no worker could run a job of that class.
    :raises EncryptionError: it is to be encrypted, and there is no key.
    """
    cls = type(job)
    definition = getattr(cls, "__queued__", None)
    codec = definition.codec if definition is not None else None
    if codec is None or not codec.header:
        codec = _dispatchable(job)
    payload: bytes = codec.header + codec.write(job)
    if len(payload) > codec.limit:
        _check_size(job, queue, len(payload))
    return payload


def pack(job: Job, queue: str, job_id: str) -> bytes:
    """Return a job's payload as it is enqueued under an id: encoded, and signed if we have a key.

    It raises what ``encode`` does.
    """
    payload = encode(job, queue)
    return payload if signer is None else signer.sign(payload, queue, job_id)


def verify(payload: bytes, queue: str, job_id: str) -> None:
    """Return if a stored payload may be read: its signature is right, or we do not ask for any.

    :raises BadSignature: nothing in it is to be believed.
    """
    if signer is not None:
        signer.verify(payload, queue, job_id)


def decode(payload: bytes) -> Job:
    """Make a fresh job of a payload. What a RouteMQ-style ``__init__`` raises is passed on.

    :raises UnknownJob: its class is not registered, or cannot be used.
    :raises CorruptPayload: it is no payload, or its body does not fit the class.
    :raises EncryptionError: there is no key for its body.
    """
    end = payload.find(b"\n")
    name, encrypted = header_of(payload[:end] if end >= 0 else payload)
    cls = registry.lookup(name)
    codec = cls.__queued__.codec
    if codec is None:
        try:
            codec = prepare(cls)
        except JobDefinitionError as error:
            raise UnknownJob(f"{name} is registered, but cannot be used: {error}") from error
    if end < 0:
        raise CorruptPayload(f"{name}: the payload has no body")
    body = payload[end + 1 :]
    return codec.load(decrypt(name, body) if encrypted else body)


def decrypt(name: str, body: bytes) -> bytes:
    """Return the fields of a job of the class ``name`` from its encrypted body.

    :raises EncryptionError: there is no key, or none that fits.
    """
    from queued.jobs.encryption import MISSING, cipher  # noqa: PLC0415 - loads cryptography

    keys = policy().encryption
    if not keys:
        raise EncryptionError(f"{name} is encrypted, and {MISSING}")
    return cipher(keys).open(name, body)


def build(name: str, body: bytes) -> Job:
    """Make a job of a class's name and its fields as JSON, as people type them.

    :raises UnknownJob: no such class.
    :raises InvalidJob: the fields do not fit.
    """
    try:
        return prepare(registry.lookup(name)).load(body)
    except CorruptPayload as error:
        raise InvalidJob(str(error)) from None


def of_fields(name: str, fields: Mapping[str, Any], queue: str, job_id: str) -> bytes:
    """Return the payload of a class that is known by its name alone, for who has not its code.

    It is signed if we have a key. The worker checks the fields when it reads them.
    """
    header = {"v": VERSION, "job": name}
    parts = (json.dumps(one, separators=(",", ":")) for one in (header, dict(fields)))
    payload = "\n".join(parts).encode()
    return payload if signer is None else signer.sign(payload, queue, job_id)


def prepare(cls: type[Job]) -> Codec:
    """Build the codec of a class now: before a fork, or to find what is wrong with its fields.

    :raises JobDefinitionError: an annotation cannot be resolved, its type has no JSON, or the
        library is missing that its encryption needs.
    """
    definition = cls.__queued__
    if definition.codec is None:
        if cls.encrypt:
            _need_cryptography(cls)
        from queued.jobs.codec import Codec  # noqa: PLC0415 - loads pydantic

        definition.codec = Codec(cls)
    return definition.codec


def job_name(payload: bytes) -> str | None:
    """Return the class that a payload names, whether registered or not; None if it names none."""
    header = payload[: max(0, payload.find(b"\n"))]
    try:
        return header_of(header).job
    except (CorruptPayload, UnknownJob):
        return None


def body_text(payload: bytes, *, reveal: bool = False) -> str:
    """Return a payload's body on one line for people to read, whatever it holds.

    Fields whose names look secret are hidden unless ``reveal``, and what is no JSON is hidden whole
    when something in it looks like such a name. What is encrypted is never shown.
    """
    end = payload.find(b"\n")
    body = payload[end + 1 :]
    if is_encrypted(payload):
        return f"(encrypted, {format_size(len(body))})"
    try:
        fields = json.loads(body.decode())
        text = json.dumps(fields if reveal else redact(fields), ensure_ascii=False)
    except (ValueError, RecursionError):
        text = body.decode("utf-8", errors="backslashreplace")
        if not reveal and looks_secret(text):
            return f"({format_size(len(body))} that are no JSON and may hold a secret)"
        text = text if reveal else redact_text(text)
    return one_line(text, limit=LARGEST_PAYLOAD)


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
    least = policy().least
    fields: dict[str, Any] = {"v": VERSION, "job": name}
    if cls.encrypt:
        fields["enc"] = 1
        codec.write = partial(_encrypted, codec, name)
    codec.limit = least if cls.max_payload is None else payload_size(cls.max_payload)
    codec.header = json.dumps(fields, separators=(",", ":")).encode() + b"\n"
    return codec


def _encrypted(codec: Codec, name: str, job: Job) -> bytes:
    from queued.jobs.encryption import MISSING, cipher  # noqa: PLC0415 - loads cryptography

    keys = policy().encryption
    if not keys:
        raise EncryptionError(f"{name} has encrypt = True, and {MISSING}")
    return cipher(keys).seal(name, codec.dump(job))


def _need_cryptography(cls: type[Job]) -> None:
    try:
        import queued.jobs.encryption  # noqa: F401, PLC0415 - as above
    except EncryptionError as error:
        raise JobDefinitionError(f"{cls.__name__}: {error}") from None


def _check_size(job: Job, queue: str | None, size: int) -> None:
    cls = type(job)
    name = queue or job.queue or registry.DEFAULT_QUEUE
    limit, whose = limit_of(cls, name)
    if size > limit:
        raise PayloadTooLarge(
            f"{cls.__name__} has {format_size(size)} of payload and at most {format_size(limit)}"
            f" are taken (max_payload of {whose}): store the data elsewhere and dispatch its id"
        )


def limit_of(cls: type[Job], queue: str) -> tuple[int, str]:
    """Return how many bytes a job of a class may have in a queue, and what says so."""
    if cls.max_payload is not None:
        return payload_size(cls.max_payload), f"the class {cls.__name__}"
    return policy().limit_of(queue), f"the queue {queue}"


def is_encrypted(payload: bytes) -> bool:
    """Say whether the body of a stored payload is encrypted."""
    try:
        return header_of(payload[: max(0, payload.find(b"\n"))]).encrypted
    except (CorruptPayload, UnknownJob):
        return False
