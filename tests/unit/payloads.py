"""Job classes that the tests of payloads share, and the way there and back."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

import pydantic

from queued.jobs import payload, registry
from queued.jobs.job import Job


class SendEmail(Job):
    to: str
    subject: str = "Hello"

    async def handle(self) -> None: ...


class Legacy(Job):
    def __init__(self) -> None:
        super().__init__()
        self.user_id: Any = None
        self._cache: dict[str, int] = {}

    async def handle(self) -> None: ...


class Bare(Job):
    async def handle(self) -> None: ...


def kept_registry() -> Iterator[None]:
    """Forget the classes that tests make: some of them are broken on purpose."""
    classes = dict(registry._classes)
    yield
    registry._classes.clear()
    registry._classes.update(classes)


def round_trip(job: Job) -> Any:
    return payload.decode(payload.encode(job))


class Odd:
    pass


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Point:
    x: float
    y: float
    raw: bytes = b""


class Address(pydantic.BaseModel):
    street: str
    zip_code: str = pydantic.Field(alias="zip")
    inner: Address | None = None


class Everything(Job):
    text: str
    number: int
    share: float
    flag: bool
    maybe: int | None
    raw: bytes
    when: datetime
    day: date
    span: timedelta
    price: Decimal
    uid: UUID
    colour: Colour
    kind: Literal["a", "b"]
    point: Point
    address: Address
    tags: list[str]
    pair: tuple[int, str]
    unique: set[int]
    by_number: dict[int, Point]
    anything: Any
    later: Late
    small: Annotated[int, pydantic.Field(lt=10)]

    async def handle(self) -> None: ...


class Late(pydantic.BaseModel):
    """Defined after the class that names it."""

    value: int


def everything(**changes: Any) -> Everything:
    values: dict[str, Any] = {
        "text": "zażółć \x00 \U0001f600",
        "number": 2**70,
        "share": 0.1,
        "flag": True,
        "maybe": None,
        "raw": bytes(range(256)),
        "when": datetime(2024, 2, 29, 12, 30, 1, 123456, tzinfo=UTC),
        "day": date(2024, 2, 29),
        "span": timedelta(days=1, microseconds=1),
        "price": Decimal("1.10"),
        "uid": uuid4(),
        "colour": Colour.BLUE,
        "kind": "b",
        "point": Point(1.0, 2.0, b"\xff"),
        "address": Address(street="s", zip="z", inner=Address(street="t", zip="u")),
        "tags": ["a"],
        "pair": (1, "x"),
        "unique": {1, 2},
        "by_number": {1: Point(0, 0)},
        "anything": {"a": [1, None, "x"]},
        "later": Late(value=3),
        "small": 3,
    }
    return Everything(**(values | changes))
