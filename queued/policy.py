"""What holds for payloads: the keys that encrypt and sign them, and how large they may be.

A leaf that producers import at their first dispatch, so that they and the daemon read the same
variables and the same queue.yaml by the same rules. Keys are shown nowhere.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

from queued import credentials
from queued.environment import DEFAULT_CONFIG, compose, expand, pairs_of, value_of
from queued.errors import ConfigError
from queued.units import format_size, parse_size

MAX_PAYLOAD = 2**20
"""Bytes that a payload may have where nobody says anything, envelope included."""
LARGEST_PAYLOAD = 16 * 2**20
"""What one call to a back-end carries."""
KEY_BYTES = 32
UNSIGNED = "unsigned"
"""Stands among the keys that sign while jobs without a signature are taken too."""
KINDS = ("encryption", "signing")


@dataclass(frozen=True, slots=True)
class Policy:
    """What the environment and queue.yaml say. Of several keys the first one makes, all read."""

    encryption: tuple[str, ...] = field(default=(), repr=False)
    signing: tuple[str, ...] = field(default=(), repr=False)
    max_payload: int = MAX_PAYLOAD
    """Bytes, for queues that ``by_queue`` does not name."""
    by_queue: Mapping[str, int] = field(default_factory=dict)

    def limit_of(self, queue: str) -> int:
        """Return how many bytes a payload for a queue may have, if its class does not say."""
        return self.by_queue.get(queue, self.max_payload)

    @property
    def least(self) -> int:
        """The smallest limit of all queues."""
        return min(self.max_payload, *self.by_queue.values(), LARGEST_PAYLOAD)

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Self:
        """Make one of what ``asdict`` and JSON have made of another one."""
        keys = {kind: tuple(values[kind]) for kind in KINDS}
        return cls(**{**values, **keys})


class KeysFile(NamedTuple):
    """A file of keys, as queue.yaml or a variable names it."""

    name: str
    folder: Path
    """Where a relative name starts, without $CREDENTIALS_DIRECTORY."""
    where: str
    """How messages call what names it."""


def find(environ: Mapping[str, str], folder: Path) -> Policy:
    """Return what holds for a producer in ``folder``.

    A variable wins over the queue.yaml that $QUEUED_CONFIG names, or that is in ``folder``; of that
    only these settings are looked at. One that nobody named and that cannot be read says nothing.

    :raises ConfigError: a key, a file or a size is wrong.
    """
    path = folder / (environ.get("QUEUED_CONFIG") or DEFAULT_CONFIG)
    root = None
    if environ.get("QUEUED_CONFIG") or path.is_file():
        try:
            root = compose(path)
        except ConfigError:
            if environ.get("QUEUED_CONFIG"):
                raise
    file = _File(path, root, environ)
    limits = dict(file.limits())
    return Policy(
        **{kind: keys(kind, environ, folder, file.keys_file(kind)) for kind in KINDS},
        max_payload=limits.pop("", 0) or size_from(environ),
        by_queue=limits,
    )


def keys(
    kind: str,
    environ: Mapping[str, str],
    folder: Path,
    file: KeysFile | None = None,
) -> tuple[str, ...]:
    """Return the keys for ``encryption`` or ``signing``; none: it is not asked for.

    They are in QUEUED_ENCRYPTION_KEYS, else in the file that QUEUED_ENCRYPTION_KEYS_FILE names,
    else in ``file``; the same for signing. Relative names start in $CREDENTIALS_DIRECTORY, or
    without that in ``folder``.

    :raises ConfigError: a file cannot be read, or a key is none.
    """
    variable = f"QUEUED_{kind.upper()}_KEYS"
    if text := environ.get(variable):
        return _parsed(text, kind, variable)
    if named := environ.get(f"{variable}_FILE"):
        file = KeysFile(named, folder, f"{variable}_FILE")
    if file is None:
        return ()
    try:
        text = credentials.read(file.name, environ, file.folder, reference=False)
    except credentials.Unreadable as error:
        raise ConfigError([f"{file.where}: {error}"]) from None
    return _parsed(text, kind, file.where)


def generate_key() -> str:
    """Return a new key, for encryption or for signing."""
    return base64.urlsafe_b64encode(os.urandom(KEY_BYTES)).decode()


def size_from(environ: Mapping[str, str]) -> int:
    """Return QUEUED_MAX_PAYLOAD in bytes, or what holds without it.

    :raises ConfigError: it is no size, or none that is possible.
    """
    text = environ.get("QUEUED_MAX_PAYLOAD")
    if not text:
        return MAX_PAYLOAD
    try:
        return payload_size(text)
    except ValueError as error:
        raise ConfigError([f"QUEUED_MAX_PAYLOAD: {error}"]) from None


def payload_size(value: Any) -> int:
    """Return the value of a ``max_payload`` in bytes.

    :raises ValueError: it is no size, or none that is possible.
    """
    size = parse_size(value)
    if not 0 < size <= LARGEST_PAYLOAD:
        most = format_size(LARGEST_PAYLOAD)
        raise ValueError(f"expected more than 0 and at most {most}, got {value!r}")
    return size


def _parsed(text: str, kind: str, where: str) -> tuple[str, ...]:
    """Return the keys of a text that commas or lines separate; a line may be a # comment."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    found = [part for part in re.split(r"[,\s]+", "\n".join(lines)) if part]
    for number, key in enumerate(found, 1):
        if not (_is_key(key) or (kind == "signing" and key == UNSIGNED)):
            message = f"key {number} is none; `queued key generate` prints one"
            raise ConfigError([f"{where}: {message}"])
    if not [key for key in found if key != UNSIGNED]:
        raise ConfigError([f"{where}: has no key; `queued key generate` prints one"])
    return tuple(found)


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text.encode(), altchars=b"-_", validate=True)) == KEY_BYTES
    except (ValueError, binascii.Error):
        return False


class _File:
    """What a composed queue.yaml says of payloads; no other key of it is looked at."""

    def __init__(self, path: Path, root: Any, environ: Mapping[str, str]) -> None:
        self._path = path
        self._root = root
        self._environ = environ

    def keys_file(self, kind: str) -> KeysFile | None:
        """Return the file of keys, if one is named."""
        key = f"{kind}.keys_file"
        name = self._text(value_of("keys_file", value_of(kind, self._root)), key)
        folder = self._path.absolute().parent
        return None if name is None else KeysFile(name, folder, f"{self._path}: {key}")

    def limits(self) -> Iterator[tuple[str, int]]:
        """Yield the limits of queues by name; of ``defaults`` under the empty one."""
        places = {"": value_of("defaults", self._root)}
        places |= {key.value: node for key, node in pairs_of(value_of("queues", self._root))}
        for queue, node in places.items():
            key = f"queues.{queue}.max_payload" if queue else "defaults.max_payload"
            text = self._text(value_of("max_payload", node), key)
            if text is None:
                continue
            try:
                yield queue, payload_size(text)
            except ValueError as error:
                raise ConfigError([f"{self._path}: {key}: {error}"]) from None

    def _text(self, node: Any, key: str) -> str | None:
        if node is None or node.tag.endswith(":null"):
            return None
        if not isinstance(node.value, str):
            raise ConfigError([f"{self._path}: {key}: expected a text"])
        try:
            return expand(node.value, self._environ, self._path.absolute().parent) or None
        except KeyError as error:
            message = f"the environment variable {error.args[0]:.80} is not set"
            raise ConfigError([f"{self._path}: {key}: {message}"]) from None
        except ValueError as error:
            raise ConfigError([f"{self._path}: {key}: {error}"]) from None
