"""What an encrypted job holds, taken out of the texts about its runs: errors, tracebacks, logs.

Every value of at least three characters is replaced wherever it stands, as it is and as it would be
quoted. What a job's own code makes of a value, such as a part of it, is beyond that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

from queued.jobs.redaction import HIDDEN

SHORTEST = 3
"""Characters of a value that is looked for; a shorter one stands in every text by chance."""
_PLAIN = 6
"""From so many on, a value is also found within a word."""
_MOST = 500
"""Values that are looked for; of a job with more, texts are hidden whole."""
_DEEPEST = 20
_WHOLE = "(hidden: the job is encrypted)"


class Veil:
    """Hides the values of one job.

    :param body: its fields as JSON, decrypted.
    :param values: makes the fields of that, in their own types.
    """

    def __init__(self, body: bytes, values: Callable[[bytes], Mapping[str, Any]]) -> None:
        self._body = body
        self._values = values

    def __call__(self, text: str) -> str:
        """Return ``text`` without any of them."""
        if self._hidden is None:
            return _WHOLE
        long, short = self._hidden
        for value in long:
            text = text.replace(value, HIDDEN)
        return text if short is None else short.sub(HIDDEN, text)

    @cached_property
    def _hidden(self) -> tuple[list[str], re.Pattern[str] | None] | None:
        """What is looked for, the longest first; None: too much to look for."""
        try:
            held = [json.loads(self._body), dict(self._values(self._body))]
        except Exception:  # noqa: BLE001 - a validator of the user's: then nothing is known for sure
            return None
        found: set[str] = set()
        for text in _texts(held, 0):
            if len(found) > _MOST:
                return None
            found |= {one for one in _forms(text) if len(one) >= SHORTEST}
        ordered = sorted(found, key=len, reverse=True)
        short = [re.escape(one) for one in ordered if len(one) < _PLAIN]
        pattern = re.compile(rf"(?<!\w)(?:{'|'.join(short)})(?!\w)") if short else None
        return [one for one in ordered if len(one) >= _PLAIN], pattern


def _texts(value: Any, depth: int) -> Iterator[str]:
    """Yield how the leaves of a value read; of what is no plain data, also the whole."""
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        yield value
        return
    if isinstance(value, bytes):
        yield value.decode(errors="replace")
        return
    if depth > _DEEPEST:
        yield str(value)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if depth > 1:  # the fields' own names are no secret
                yield from _texts(key, depth + 1)
            yield from _texts(inner, depth + 1)
    elif isinstance(value, list | tuple | set | frozenset):
        for inner in value:
            yield from _texts(inner, depth + 1)
    else:
        yield str(value)
        yield repr(value)
        yield from _texts(list(getattr(value, "__dict__", {}).values()), depth + 1)


def _forms(text: str) -> tuple[str, ...]:
    """Return a text as it is, as Python quotes it, and as JSON does."""
    return (
        text,
        repr(text)[1:-1],
        json.dumps(text)[1:-1],
        json.dumps(text, ensure_ascii=False)[1:-1],
    )
