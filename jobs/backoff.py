"""How long a job waits before it runs again: a fixed time, a list, or growing."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from queued.jobs.text import nearest
from queued.units import LONGEST, parse_duration

_KEYS = ("base", "factor", "cap", "jitter")


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds before each further run: ``steps`` first, the last one growing by ``factor`` after.

    ``jitter`` takes up to that share off at random, so that jobs which failed together do not come
    back together; ``cap`` bounds the growth (seconds).
    """

    steps: tuple[float, ...] = (0.0,)
    factor: float = 1.0
    cap: float = LONGEST
    jitter: float = 0.0

    def delay(self, tries: int) -> float:
        """Return the seconds to wait after ``tries`` (1 or more) charged tries."""
        beyond = max(0, tries - len(self.steps))
        seconds = self.steps[min(max(tries, 1), len(self.steps)) - 1]
        if beyond and self.factor != 1.0 and seconds:
            # in logarithms, since a job may be tried more often than a float's exponent allows
            grown = math.log(seconds) + beyond * math.log(self.factor)
            seconds = self.cap if grown >= math.log(self.cap) else math.exp(grown)
        seconds = min(seconds, self.cap)
        if self.jitter:
            seconds *= 1.0 - self.jitter * random.random()  # noqa: S311 - nothing secret
        return seconds

    @classmethod
    def parse(cls, value: Any) -> Self:
        """Make one of what people write: ``10``, ``"5m"``, ``[1, 5, "1m"]`` or a mapping.

        The mapping is ``{base: 1s, factor: 2, cap: 5m, jitter: 0.1}``; base is required.

        :raises ValueError: it is none of these; the message says what is wrong.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, Mapping):
            return cls._exponential(value)
        if isinstance(value, Sequence) and not isinstance(value, str | bytes):
            if not value:
                raise ValueError("expected at least one delay in the list")
            return cls(steps=tuple(parse_duration(step) for step in value))
        return cls(steps=(parse_duration(value),))

    @classmethod
    def _exponential(cls, value: Mapping[str, Any]) -> Self:
        for key in value:
            if key not in _KEYS:
                hint = nearest(str(key), _KEYS) or f"; expected {', '.join(_KEYS)}"
                raise ValueError(f'unknown key "{key}"{hint}')
        if "base" not in value:
            raise ValueError("expected base, the first delay, such as {base: 1s, factor: 2}")
        factor = _number(value.get("factor", 2.0), "factor", lowest=1.0)
        jitter = _number(value.get("jitter", 0.0), "jitter", highest=1.0)
        cap = parse_duration(value.get("cap", LONGEST))
        if cap <= 0:
            raise ValueError("cap must be more than 0")
        return cls(steps=(parse_duration(value["base"]),), factor=factor, cap=cap, jitter=jitter)


def _number(value: Any, key: str, *, lowest: float = 0.0, highest: float = math.inf) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"{key}: expected a number, got {value!r}")  # noqa: TRY004 - one error type
    if not (math.isfinite(value) and lowest <= value <= highest):
        bounds = (
            f"from {lowest:g} to {highest:g}" if math.isfinite(highest) else f"{lowest:g} or more"
        )
        raise ValueError(f"{key}: expected {bounds}, got {value!r}")
    return float(value)
