"""``rate_limit`` of queue.yaml: ``100/1m``, or a mapping that says the burst too."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    WithJsonSchema,
)

from queued.config.problems import show
from queued.config.types import NOTHING_SCHEMA, Duration, OptionalCount, Whole, is_no_limit
from queued.drivers.brakes import RateLimit
from queued.units import parse_rate

MOST = 1_000_000
RATE_SCHEMA = {
    "anyOf": [
        {"type": "string", "pattern": r"^\s*[0-9]+\s*/\s*[0-9.]*\s*(ms|[smhdwSMHDW])\s*$|\$\{"},
        {"type": "integer", "const": 0},
        NOTHING_SCHEMA,
    ]
}


def rate_limit(text: str) -> RateLimit:
    """Return the limit that ``100/1m`` means.

    :raises ValueError: it is no rate.
    """
    jobs, per = parse_rate(text)
    if not 1 <= jobs <= MOST:
        raise ValueError(f"expected 1 to {MOST} jobs, got {text!r}")
    return _limit(jobs, per, None)


def _limit(jobs: int, per: float, burst: int | None) -> RateLimit:
    """Return a limit; unless it says another, its burst is what comes in a second."""
    return RateLimit(per / jobs, burst or max(1, math.ceil(round(jobs / per, 6))))


def _optional(value: Any) -> RateLimit | None:
    if is_no_limit(value) or (value == 0 and not isinstance(value, bool)):
        return None
    if not isinstance(value, str):
        hint = f"; say in what time: {value}/1m" if type(value) is int and value > 0 else ""
        message = f"expected a rate such as 100/1m, got {show(value)}{hint}"
        raise ValueError(message)  # noqa: TRY004 - pydantic's
    return rate_limit(value)


class Rate(BaseModel):
    """How many jobs may be started in how much time, over all workers on all hosts."""

    model_config = ConfigDict(extra="forbid")

    jobs: Whole = Field(ge=1, le=MOST, description="How many jobs may be started")
    per: Duration = Field(ge=0.001, description="in this time.")
    burst: OptionalCount = Field(
        default=None,
        description="How many may be started at once after a quiet time; by default what comes in a"
        " second, one at least.",
    )

    def limit(self) -> RateLimit:
        """Return it as drivers take it."""
        return _limit(self.jobs, self.per, self.burst)


if TYPE_CHECKING:
    OptionalRate = RateLimit | None
else:  # a tagged union, so that a wrong key of the mapping is named as one
    OptionalRate = Annotated[
        Annotated[Any, PlainValidator(_optional), WithJsonSchema(RATE_SCHEMA), Tag("<rate>")]
        | Annotated[Rate, AfterValidator(Rate.limit), Tag("<mapping>")],
        Discriminator(lambda value: "<mapping>" if isinstance(value, dict) else "<rate>"),
    ]
