"""Signatures: who has no key cannot enqueue a job, change one, or move it to another queue.

    {"v":1,"job":"app.jobs.SendEmail","sig":"pJ1…43 characters…"}

It is an HMAC-SHA256 over the queue, the id, the header without it, and the body as stored. The
context of a trace, which is added after it, is not covered. It always looks like this, so that the
header without it is found by cutting, and it is verified before anything is parsed.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence

from queued.errors import BadSignature
from queued.jobs.trace_context import without_context
from queued.policy import UNSIGNED

_START = b',"sig":"'
_END = b'"}'
_MAC = 43
"""Characters of 32 bytes in base64 without padding."""
_LENGTH = len(_START) + _MAC + len(_END)
_DOMAIN = b"queued signature 1"


class Signer:
    """Signs with the first key, and verifies with each.

    :param keys: as ``policy.keys`` returns them, one at least.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = [base64.urlsafe_b64decode(key) for key in keys if key != UNSIGNED]
        self._demanding = UNSIGNED not in keys

    def sign(self, payload: bytes, queue: str, job_id: str) -> bytes:
        """Return a payload as it was encoded, for this queue and id, with its signature."""
        end = payload.find(b"}\n")
        mac = _mac(self._keys[0], queue, job_id, payload[: end + 1], payload[end + 2 :])
        return b"".join((payload[:end], _START, mac, _END, payload[end + 1 :]))

    def verify(self, payload: bytes, queue: str, job_id: str) -> None:
        """Return if a payload is one that we signed for this queue and id.

        :raises BadSignature: it is none.
        """
        header, _, body = payload.partition(b"\n")
        signed = without_context(header)
        plain = without_signature(signed)
        if plain is signed:
            if self._demanding:
                raise BadSignature(
                    "it has no signature: whoever dispatched it has no key"
                    " (QUEUED_SIGNING_KEYS, or signing.keys_file of queue.yaml)"
                )
            return
        given = signed[len(plain) - 1 + len(_START) : -len(_END)]
        for key in self._keys:
            if hmac.compare_digest(_mac(key, queue, job_id, plain, body), given):
                return
        raise BadSignature(
            f"its signature was made with none of {_count(len(self._keys))} here, or it is not"
            f" what was signed for job {job_id} of the queue {queue}"
        )


def without_signature(header: bytes) -> bytes:
    """Return a header (without the context of a trace) as it was before it was signed."""
    start = len(header) - _LENGTH
    if start > 0 and header.startswith(_START, start) and header.endswith(_END):
        return header[:start] + b"}"
    return header


def _mac(key: bytes, queue: str, job_id: str, header: bytes, body: bytes) -> bytes:
    # neither names nor the header hold a null byte or a line break: no two messages are one
    names = b"\0".join((_DOMAIN, queue.encode(), job_id.encode(), header))
    digest = hmac.digest(key, b"\n".join((names, body)), "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=")


def _count(keys: int) -> str:
    return "the key" if keys == 1 else f"the {keys} keys"
