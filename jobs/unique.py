"""Unique jobs: what a job asks to hold, so that no second one like it waits or runs.

The key is made of the job as the worker will see it, so that ``user_id="7"`` and ``user_id=7`` are
one. It is stored beside the queue as it is, unless the class is encrypted, or the key is made of
all fields or of one whose name looks secret: then a digest of it is.
"""

from __future__ import annotations

import json
from datetime import timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from queued.drivers.base import Unique
from queued.errors import InvalidJob
from queued.jobs import payload
from queued.jobs.key_format import fields_of
from queued.jobs.redaction import looks_secret
from queued.jobs.text import error_text, one_line
from queued.units import parse_duration

if TYPE_CHECKING:
    from queued.jobs.job import Job

MAX_KEY = 200
"""Characters that a key may have."""

Lasting = float | str | timedelta | None
"""Seconds, ``"5m"`` or a timedelta; None: until the job is done."""

_DIGEST = 16


def unique_of(job: Job, key: str | None = None, lasting: Lasting = None) -> Unique | None:
    """Return what a job holds: by the arguments of its dispatch, else by its class.

    None: nothing, because its own ``unique_key()`` says None.

    :raises InvalidJob: there is no key, or it cannot be one.
    """
    cls = type(job)
    where = f"{cls.__name__}.unique_key"
    seconds = _seconds(cls.unique_for if lasting is None else lasting)
    if key is None:
        if cls.unique_key is None:
            raise InvalidJob(f"unique_for needs a key: {where} is not set, and none was given")
        key = _key_of_class(job, where)
        if key is None:
            return None
    checked = _checked(key, where)
    if getattr(cls, "encrypt", None):
        checked = _digest(checked)
    return Unique(f"{cls.__queued__.name} {checked}", seconds)


def key_of(name: str) -> str:
    """Return the key in what a job holds, without the name of its class."""
    return name.partition(" ")[2]


def _key_of_class(job: Job, where: str) -> Any:
    codec = payload.prepare(type(job))
    body = codec.dump(job)
    template = type(job).unique_key
    if template is True:
        return _digest(json.dumps(json.loads(body), sort_keys=True))
    seen = codec.load(body)
    if not isinstance(template, str):
        return seen.unique_key()
    try:
        key = template.format_map(_Attributes(seen))
    except Exception as error:  # noqa: BLE001 - whatever a __format__ of the user's raises
        raise InvalidJob(f"{where} {template!r}: {error_text(error)}") from None
    return _digest(key) if any(map(looks_secret, fields_of(template))) else key


class _Attributes(dict[str, Any]):
    """A job's attributes for ``format_map``, those of its class too."""

    def __init__(self, job: Job) -> None:
        super().__init__(vars(job))
        self._job = job

    def __missing__(self, name: str) -> Any:
        return getattr(self._job, name)


def _digest(text: str) -> str:
    return blake2b(text.encode(errors="surrogatepass"), digest_size=_DIGEST).hexdigest()


def _checked(key: Any, where: str) -> str:
    if isinstance(key, int) and not isinstance(key, bool):
        key = str(key)
    if not isinstance(key, str) or not 0 < len(key) <= MAX_KEY or not key.isprintable():
        shown = one_line(key, 40) if isinstance(key, str) else type(key).__name__
        raise InvalidJob(
            f"{where}: expected 1 to {MAX_KEY} printable characters, got {shown!r};"
            " a digest stands for what is longer"
        )
    return key


def _seconds(lasting: Lasting) -> float | None:
    if lasting is None:
        return None
    try:
        seconds = parse_duration(
            lasting.total_seconds() if isinstance(lasting, timedelta) else lasting
        )
        if seconds > 0:
            return seconds
    except ValueError as error:
        raise InvalidJob(f"unique_for: {error}") from None
    raise InvalidJob(f"unique_for: expected more than 0 seconds, got {lasting!r}")
