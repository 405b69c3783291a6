"""The kinds of values that queue.yaml has: how each is read, and how JSON Schema describes it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)

from queued.config.document import Expanded, typed
from queued.policy import payload_size
from queued.units import parse_duration, parse_share, parse_size

_N = r"[0-9]+(\.[0-9]+)?"
REFERENCE_SCHEMA = {"type": "string", "pattern": r"\$\{"}
"""A value that the environment fills in may stand wherever a number or a choice does."""
DURATION_SCHEMA = {
    "anyOf": [
        {"type": "number", "minimum": 0},
        {"type": "string", "pattern": rf"^\s*({_N}|({_N}\s*(ms|[smhdwSMHDW])\s*)+)\s*$|\$\{{"},
    ]
}
SIZE_SCHEMA = {
    "anyOf": [
        {"type": "integer", "minimum": 0},
        {"type": "string", "pattern": rf"^\s*{_N}\s*(([KMGTkmgt][Ii]?)?[Bb])?\s*$|\$\{{"},
    ]
}
SHARE_SCHEMA = {
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        {"type": "string", "pattern": rf"^\s*{_N}\s*%?\s*$|\$\{{"},
    ]
}
NOTHING_SCHEMA = {"enum": [None, "none"]}


def _retyped(value: Any) -> Any:
    """Give text from the environment the type that it would have had in the file."""
    return typed(value) if isinstance(value, Expanded) and typed(value) != value else value


def is_no_limit(value: Any) -> bool:
    """Return whether a setting is left out, or ``none``."""
    return value is None or (isinstance(value, str) and value.lower() in {"none", "null", ""})


def _optional_duration(value: Any) -> float | None:
    return None if is_no_limit(value) else parse_duration(value) or None


def _interval(value: Any) -> float:
    seconds = parse_duration(value)
    if seconds < 1 or seconds % 1:
        raise ValueError(f"expected whole seconds, at least 1s, got {value!r}")
    return seconds


def _optional_size(value: Any) -> int | None:
    return None if is_no_limit(value) else parse_size(value) or None


def _optional_share(value: Any) -> float | None:
    return None if is_no_limit(value) else parse_share(value)


def _optional_count(value: Any) -> Any:
    value = _retyped(value)
    is_zero = value == 0 and not isinstance(value, bool)
    return None if is_no_limit(value) or is_zero else value


def _number_as_text(value: Any) -> Any:
    """Accept ``PORT: 8080``: a whole number is the same text again, other types are not."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _optional(schema: dict[str, list[Any]]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [*schema["anyOf"], NOTHING_SCHEMA]})


Whole = Annotated[int, Field(strict=True), BeforeValidator(_retyped)]
Flag = Annotated[bool, Field(strict=True), BeforeValidator(_retyped)]
Text = Annotated[str, Field(strict=False)]
EnvironmentText = Annotated[
    str,
    BeforeValidator(_number_as_text),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer"}]}),
]

Duration = Annotated[float, BeforeValidator(parse_duration), WithJsonSchema(DURATION_SCHEMA)]
"""Seconds."""
OptionalDuration = Annotated[
    float | None, BeforeValidator(_optional_duration), _optional(DURATION_SCHEMA)
]
"""Seconds; none and 0 mean that there is no limit, here and below."""
Interval = Annotated[float | None, BeforeValidator(_interval), WithJsonSchema(DURATION_SCHEMA)]
"""Whole seconds."""
OptionalSize = Annotated[int | None, BeforeValidator(_optional_size), _optional(SIZE_SCHEMA)]
PayloadSize = Annotated[int, BeforeValidator(payload_size), WithJsonSchema(SIZE_SCHEMA)]
"""Bytes: more than 0, and what a back-end takes in one call."""
OptionalShare = Annotated[float | None, BeforeValidator(_optional_share), _optional(SHARE_SCHEMA)]
"""Between 0 and 1."""
OptionalCount = Annotated[
    Annotated[int, Field(strict=True, ge=1)] | None,
    BeforeValidator(_optional_count),
    _optional({"anyOf": [{"type": "integer", "minimum": 0}, REFERENCE_SCHEMA]}),
]
Timeout = Annotated[
    float,
    BeforeValidator(lambda value: _optional_duration(value) or 0.0),
    _optional(DURATION_SCHEMA),
]
"""Seconds; 0 means that there is none."""


class Exponential(BaseModel):
    """Waits that grow: base, base * factor, and so on."""

    model_config = ConfigDict(extra="forbid")

    base: Duration = Field(description="The first wait.")
    factor: Annotated[float, BeforeValidator(_retyped)] = Field(
        default=2.0, ge=1, le=1_000, description="What each wait is multiplied by for the next."
    )
    cap: OptionalDuration = Field(default=None, description="The longest wait.")
    jitter: Annotated[float, BeforeValidator(_retyped)] = Field(
        default=0.0, ge=0, le=1, description="The share of a wait that chance may take off."
    )

    @model_validator(mode="after")
    def _grows(self) -> Self:
        if self.base == 0:
            raise ValueError("base must be more than 0; leave backoff out for no wait")
        if self.cap is not None and self.cap < self.base:
            raise ValueError("cap is below base")
        return self

    def plain(self) -> dict[str, float]:
        """Return what was given, as ``Backoff.parse`` takes it."""
        return self.model_dump(exclude_unset=True, exclude_none=True)


class Range(BaseModel):
    """How many workers a pool has at least and at most: it is scaled by how long jobs wait."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min: Whole = Field(default=1, ge=0, le=1_000, description="While nothing is to be done.")
    max: Whole = Field(ge=1, le=1_000, description="However many jobs wait.")
    cooldown: Duration = Field(
        default=30.0, ge=1, description="How long a worker must have been one too many to go."
    )

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.max < self.min:
            raise ValueError(f"max is below min: {self.max} < {self.min}")
        return self


def _processes_kind(value: Any) -> str:
    return "<range>" if isinstance(value, dict | Range) else "<number>"


def _backoff_kind(value: Any) -> str:
    if isinstance(value, dict):
        return "<exponential>"
    return "<list>" if isinstance(value, list) else "<fixed>"


if TYPE_CHECKING:
    Backoff = float | list[float] | dict[str, float]
else:  # a tagged union, so that a wrong key of the mapping is named as one
    Backoff = Annotated[
        Annotated[Duration, Tag("<fixed>")]
        | Annotated[list[Duration], Field(min_length=1, max_length=100), Tag("<list>")]
        | Annotated[Exponential, AfterValidator(Exponential.plain), Tag("<exponential>")],
        Discriminator(_backoff_kind),
    ]
"""Seconds, a list of seconds, or a mapping with ``base, factor, cap, jitter``; plain data."""

if TYPE_CHECKING:
    Processes = int | Range
else:  # as for Backoff
    Processes = Annotated[
        Annotated[
            Whole,
            Field(ge=0, le=1_000),
            Tag("<number>"),
            WithJsonSchema(
                {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 1_000}, REFERENCE_SCHEMA]}
            ),
        ]
        | Annotated[Range, Tag("<range>")],
        Discriminator(_processes_kind),
    ]
"""Worker processes: so many, or as many as it takes within a range."""

_ADDRESS = re.compile(r"(?:(?P<host>\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9_.-]*):)?(?P<port>[0-9]{1,5})")


def parse_address(text: str) -> tuple[str, int]:
    """Return the host and port of ``127.0.0.1:9470``; without a host, it is the loopback.

    :raises ValueError: it is neither, or no port.
    """
    match = _ADDRESS.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"expected host:port such as 127.0.0.1:9470, got {text!r}")
    if int(match["port"]) > 65_535:  # noqa: PLR2004 - the highest port
        raise ValueError(f"expected a port up to 65535, got {text!r}")
    return (match["host"] or "127.0.0.1").strip("[]"), int(match["port"])
