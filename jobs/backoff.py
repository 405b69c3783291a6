"""How long a job waits before it runs again: a fixed time, a list, or growing."""

from __future__ import annotations

import math
import os
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


@dataclass(frozen=True, slots=True)
class Growth:
    """RouteMQ's way to let ``retry_after`` double: ``retry_backoff_*`` of a class.

    What a class leaves out, the environment says (QUEUE_RETRY_MAX_DELAY, QUEUE_RETRY_JITTER), else
    60 seconds and no jitter. QUEUE_RETRY_BACKOFF_ENABLED lets the waits of all classes grow.
    """

    max_delay: float | str | None = None
    jitter: float | None = None

    def __post_init__(self) -> None:
        if self.max_delay is not None:
            parse_duration(self.max_delay)
        if self.jitter is not None:
            _number(self.jitter, "jitter")

    def backoff(self, base: float | str) -> Backoff:
        """Return the waits that begin with ``base``, none of them beneath it."""
        first = parse_duration(base)
        longest, jitter = self.max_delay, self.jitter
        if longest is None:
            longest = _from_environment("QUEUE_RETRY_MAX_DELAY", 60.0)
        if jitter is None:
            jitter = _from_environment("QUEUE_RETRY_JITTER", 0.0)
        cap = max(parse_duration(longest), first) or LONGEST
        return Backoff((first,), factor=2.0, cap=cap, jitter=min(jitter, 1.0))

    @classmethod
    def of(cls, job: Any) -> Growth | None:
        """Return what a class or the environment asks for; None: waits do not grow so."""
        enabled = getattr(job, "retry_backoff_enabled", None)
        if not enabled and os.environ.get("QUEUE_RETRY_BACKOFF_ENABLED", "").lower() not in _YES:
            return None
        return cls(
            getattr(job, "retry_backoff_max_delay", None),
            getattr(job, "retry_backoff_jitter", None),
        )


_YES = ("1", "true", "yes", "on")


def _from_environment(name: str, fallback: float) -> float:
    """Return a number as RouteMQ reads it: nonsense counts as nothing said."""
    try:
        value = float(os.environ.get(name, fallback))
    except ValueError:
        return fallback
    return value if 0 <= value <= LONGEST else fallback


def _number(value: Any, key: str, *, lowest: float = 0.0, highest: float = math.inf) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"{key}: expected a number, got {value!r}")  # noqa: TRY004 - one error type
    if not (math.isfinite(value) and lowest <= value <= highest):
        bounds = (
            f"from {lowest:g} to {highest:g}" if math.isfinite(highest) else f"{lowest:g} or more"
        )
        raise ValueError(f"{key}: expected {bounds}, got {value!r}")
    return float(value)
