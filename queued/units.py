"""Durations, sizes, shares and rates as people write them: ``30s``, ``64KiB``, ``5%``, ``5/s``."""

from __future__ import annotations

import math
import re

SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
BYTES = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
LONGEST = 36_500 * 86_400.0
"""A hundred years, in seconds: what is longer overflows timers of the system."""
LARGEST = 2**60

_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?\s*(?:ms|[smhdw])\s*)+")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|[smhdw])")
_RATE = re.compile(r"([0-9]+)\s*/\s*([0-9.]*\s*(?:ms|[smhdwSMHDW]))")
_SHARE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(%?)")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)")


def parse_duration(value: str | float) -> float:
    """Return ``value`` in seconds: a number, or text such as ``30s``, ``5m``, ``1h30m``, ``250ms``.

    :raises ValueError: it is neither, is negative, or is longer than a hundred years.
    """
    seconds = _seconds(value)
    if seconds is None:
        hint = "; write 1m30s or 1h30m" if re.fullmatch(r"[0-9:]+", str(value)) else ""
        raise ValueError(f"expected a duration such as 30s, 5m or 1h30m, got {value!r}{hint}")
    if seconds < 0:
        raise ValueError(f"a duration cannot be negative, got {value!r}")
    if seconds > LONGEST:
        raise ValueError(f"a duration is at most 36500d, got {value!r}")
    return float(seconds)


def parse_rate(text: str) -> tuple[int, float]:
    """Return how many in how many seconds: ``100/1m``, ``5/s``.

    :raises ValueError: it is none.
    """
    match = _RATE.fullmatch(text.strip())
    seconds = 0.0
    if match is not None:
        seconds = parse_duration(match[2] if match[2][0].isdigit() else f"1{match[2]}")
    if match is None or seconds <= 0:
        raise ValueError(f"expected a rate such as 100/1m or 5/s, got {text!r}")
    return int(match[1]), seconds


def parse_size(value: str | int) -> int:
    """Return ``value`` in bytes: a whole number, or text such as ``64KiB``, ``512MiB``, ``1.5GB``.

    :raises ValueError: it is neither, or is negative.
    """
    size = _bytes(value)
    if size is None:
        raise ValueError(_size_hint(value))
    if size < 0:
        raise ValueError(f"a size cannot be negative, got {value!r}")
    if size > LARGEST:
        raise ValueError(f"a size is at most 1048576TiB, got {value!r}")
    return round(size)  # 0.1KiB is no whole number of bytes, and nobody counts them


def parse_share(value: str | float) -> float:
    """Return ``value`` as a number between 0 and 1: ``0.05``, or text such as ``5%``.

    :raises ValueError: it is neither, or nothing between (0 and 1 themselves are no limits).
    """
    match = None if isinstance(value, bool) else _SHARE.fullmatch(str(value).strip())
    if match is None:
        raise ValueError(f"expected a share such as 5% or 0.05, got {value!r}")
    share = float(match[1]) / (100 if match[2] else 1)
    if not 0 < share < 1:
        hint = f"; write {match[1]}%" if share >= 1 and not match[2] else ""
        raise ValueError(f"expected a share between 0% and 100%, got {value!r}{hint}")
    return share


def format_share(share: float) -> str:
    """Return ``share`` as per cent, in the digits that it needs: ``5%``, ``0.5%``, ``33.3%``."""
    return f"{100 * share:.3g}%"


def format_duration(seconds: float) -> str:
    """Return ``seconds`` for people, in at most two units: ``250ms``, ``2m 5s``, ``3d``."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms" if seconds else "0s"
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f}".removesuffix(".0") + "s"
    left = round(seconds)
    parts: list[str] = []
    for unit in ("d", "h", "m", "s"):
        count, left = divmod(left, int(SECONDS[unit]))
        if count:
            parts.append(f"{count}{unit}")
        elif parts:
            break
    return " ".join(parts[:2])


def format_latency(seconds: float) -> str:
    """Return ``seconds`` for people, without digits that nobody reads: ``12ms``, ``3.4s``."""
    return format_duration(round(seconds, 1 if seconds >= 1 else 3))


def format_rate(per_second: float) -> str:
    """Return a rate for people; what is more than nothing never looks like nothing."""
    if 0 < per_second < 1:
        return f"{max(per_second, 0.01):.2f}"
    return f"{per_second:.1f}" if per_second < 1_000 else f"{per_second:.0f}"  # noqa: PLR2004


def format_size(size: int) -> str:
    """Return ``size`` bytes for people: ``512 B``, ``64 KiB``, ``1.5 MiB``."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:  # noqa: PLR2004 - binary units
            return f"{amount:.1f}".removesuffix(".0") + f" {unit}"
        amount /= 1024
    return f"{amount:.1f}".removesuffix(".0") + " TiB"


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, int | float):
        return value
    text = value.strip().lower() if isinstance(value, str) else ""
    if text.startswith("-"):
        seconds = _seconds(text[1:])
        return None if seconds is None else -seconds
    if _NUMBER.fullmatch(text):
        return float(text)
    if _DURATION.fullmatch(text):
        parts = _DURATION_PART.findall(text)
        return sum(float(number) * SECONDS[unit] for number, unit in parts)
    return None


def _bytes(value: object) -> float | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value.strip().lower()) if isinstance(value, str) else None
    if match is None or (match[2] or "b") not in BYTES:
        return None
    return float(match[1]) * BYTES[match[2] or "b"]


def _size_hint(value: object) -> str:
    hint = f"expected a size such as 64KiB, 512MiB or a number of bytes, got {value!r}"
    match = _SIZE.fullmatch(value.strip().lower()) if isinstance(value, str) else None
    if match is not None and match[2] in {"k", "m", "g", "t"}:
        unit = match[2].upper()
        hint += f"; write {match[1]}{unit}iB or {match[1]}{unit}B"
    return hint
