"""How much is tried: few enough for every run, the same ones on CI; QUEUED_FUZZ=5000 tries more."""

from __future__ import annotations

import os
import unicodedata

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("QUEUED_FUZZ", "100"))
FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="QUEUED_FUZZ" not in os.environ,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

HOSTILE = (
    "\x00",
    "\n",
    "\r\n",
    "\t",
    "\x1b[31m",
    "\x1b]0;title\x07",
    "\x7f",
    "\x9b2J",
    "\u2028",
    "\u202e",
    "\ufeff",
    "\ud800",
    "../../etc/passwd",
    "%2e%2e%2f",
    "<script>alert(1)</script>",
    "' OR 1=1 --",
    "{queued}",
    "*",
    "9" * 400,
    "a" * 5_000,
    '"',
    "\\",
    "${HOME}",
    "NaN",
    "{}",
    "[" * 500,
)
"""Pieces of text that have broken other people's programs."""

hostile_text = st.lists(st.sampled_from(HOSTILE) | st.text(max_size=8), max_size=4).map("".join)


@st.composite
def mutated(draw: st.DrawFn, originals: list[bytes]) -> bytes:
    """Return something valid with a few bytes exchanged, dropped, doubled or put in."""
    data = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 6)))
        piece = draw(
            st.binary(max_size=4)
            | st.sampled_from(HOSTILE).map(lambda text: text.encode(errors="surrogatepass"))
            | st.just(bytes(data[start:end]) * 2)
        )
        data[start:end] = piece
    return bytes(data)


def is_safe(text: str) -> bool:
    """Tell whether a text is one line that a terminal just shows and any output can encode."""
    return not any(
        unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"}
        or unicodedata.bidirectional(char)
        in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
        for char in text
    )
