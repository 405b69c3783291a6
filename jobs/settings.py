"""The settings that a Job class may have, and what is no value for each of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from queued.drivers.base import QUEUE_PATTERN
from queued.errors import JobDefinitionError
from queued.jobs.backoff import Backoff, Growth
from queued.jobs.retrying import error_classes, shadowed
from queued.policy import payload_size
from queued.units import parse_duration

WIRE_NAME = re.compile(r"\w[\w.:/<>-]{0,199}")


def check_settings(cls: type) -> None:
    """Look at every setting of a class.

    :raises JobDefinitionError: one cannot be meant; the message says what was expected.
    """
    for setting, check in _CHECKS.items():
        value = getattr(cls, setting)
        if value is None:
            continue
        try:
            check(value)
        except ValueError as error:
            raise JobDefinitionError(f"{cls.__name__}.{setting}: {error}") from None
    useless = shadowed(getattr(cls, "retry_on", None), getattr(cls, "give_up_on", None))
    if useless:
        raise JobDefinitionError(
            f"{cls.__name__}.retry_on: {useless} has no effect, since give_up_on covers it"
        )


def _check_queue(value: Any) -> None:
    if not isinstance(value, str) or not QUEUE_PATTERN.fullmatch(value):
        raise ValueError(
            f"expected a name of up to 64 letters, digits and _.:- such as emails, got {value!r}"
        )


def _check_max_tries(value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"expected a whole number from 1 (the first run counts), got {value!r}")


def _check_name(value: Any) -> None:
    if not isinstance(value, str) or not WIRE_NAME.fullmatch(value):
        raise ValueError(f"expected a wire name such as mail.send, without spaces, got {value!r}")


def _check_span(value: Any) -> None:
    if not parse_duration(value):
        raise ValueError(f"expected more than no time, got {value!r}")


def _check_flag(value: Any) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"expected True or False, got {value!r}")  # noqa: TRY004 - one error type


_CHECKS: dict[str, Callable[[Any], object]] = {
    "queue": _check_queue,
    "max_tries": _check_max_tries,
    "timeout": parse_duration,
    "retry_after": parse_duration,
    "backoff": Backoff.parse,
    "retry_on": error_classes,
    "give_up_on": error_classes,
    "retry_backoff_enabled": _check_flag,
    "retry_backoff_max_delay": lambda value: Growth(max_delay=value),
    "retry_backoff_jitter": lambda value: Growth(jitter=value),
    "max_payload": payload_size,
    "encrypt": _check_flag,
    "name": _check_name,
    "unique_for": _check_span,
}
SETTINGS = (*_CHECKS, "unique_key")
