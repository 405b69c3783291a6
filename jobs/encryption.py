"""Encryption: the bodies of classes with ``encrypt = True``, by Fernet of ``cryptography``.

    {"v":1,"job":"app.jobs.SendEmail","enc":1}
    gAAAAAB…

The header stays in clear, for routing. Within the token the class stands before its fields, so that
nobody can give one class's data to another. Imported when a job is first encrypted or decrypted.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from queued.errors import EncryptionError

try:
    from cryptography.fernet import Fernet, InvalidToken, MultiFernet
except ImportError:
    raise EncryptionError(
        "encrypt = True needs the library cryptography: pip install 'queued[crypto]'"
    ) from None

MISSING = (
    "no key is set: put one of `queued key generate` into QUEUED_ENCRYPTION_KEYS, or name its file"
    " in QUEUED_ENCRYPTION_KEYS_FILE or as encryption.keys_file in queue.yaml"
)


class Cipher:
    """Encrypts with the first key, and decrypts with each.

    :param keys: as ``policy.keys`` returns them, one at least.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in keys])
        self._count = len(keys)

    def seal(self, name: str, body: bytes) -> bytes:
        """Return the body of a job of the class ``name``, encrypted."""
        return self._fernet.encrypt(b"%s\n%s" % (name.encode(), body))

    def open(self, name: str, token: bytes) -> bytes:
        """Return what ``seal`` was given.

        :raises EncryptionError: no key fits, or it has been changed.
        """
        try:
            found, _, body = self._fernet.decrypt(token).partition(b"\n")
        except InvalidToken:
            keys = "the key" if self._count == 1 else f"any of the {self._count} keys"
            raise EncryptionError(
                f"{name}: cannot be decrypted with {keys} of this worker, or it has been changed;"
                " add the key that it was encrypted with",
                "wrong_key",
            ) from None
        if found != name.encode():
            raise EncryptionError(f"{name}: the data was encrypted for another class", "wrong_key")
        return body


@lru_cache(maxsize=1)
def cipher(keys: tuple[str, ...]) -> Cipher:
    """Return what encrypts and decrypts with these keys; one, for a process has one set."""
    return Cipher(keys)
