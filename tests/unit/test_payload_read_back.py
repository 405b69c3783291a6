"""Payloads: what would be read back as something else is refused, before it is stored."""

from __future__ import annotations

import enum
import math
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import core_schema

from queued.errors import (
    InvalidJob,
)
from queued.jobs import payload
from queued.jobs.codec import Codec
from queued.jobs.job import Job
from tests.unit.payloads import (
    Address,
    Bare,
    Colour,
    Point,
    kept_registry,
    round_trip,
)

_registry = pytest.fixture(autouse=True)(kept_registry)


def as_text(kind: type) -> Any:
    """Return how pydantic stores a class as a text, and makes a new one of that."""
    return pydantic.GetPydanticSchema(
        lambda _source, _handler: core_schema.no_info_plain_validator_function(
            lambda value: value if isinstance(value, kind) else kind(),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda _: "text"),
        )
    )


class Lossy(pydantic.BaseModel):
    secret: int = pydantic.Field(exclude=True)


def test_what_could_not_be_read_back_is_refused_at_dispatch() -> None:
    class Sending(Job):
        it: Lossy

        async def handle(self) -> None: ...

    with pytest.raises(InvalidJob, match=r"Sending\.it\.secret: Field required when read back"):
        payload.encode(Sending(it=Lossy(secret=1)))


def sending(kind: Any) -> Any:
    """Return a class of jobs with one field of that type."""

    class Sending(Job):
        __annotations__ = {"it": kind}

        async def handle(self) -> None: ...

    return Sending


class Animal(pydantic.BaseModel):
    name: str


class Dog(Animal):
    breed: str


@pytest.mark.parametrize(
    ("kind", "value", "named"),
    [
        (pydantic.SecretStr, pydantic.SecretStr("hunter2"), "SecretStr"),
        (Animal, Dog(name="Rex", breed="Setter"), "Dog"),
        (list[Animal], [Dog(name="Rex", breed="Setter")], "list"),
        (str | Decimal, Decimal("1.10"), "Decimal"),
        (datetime | str, "2024-01-01T00:00:00", "str"),
        (list[int] | set[int], {1}, "set"),
        (dict[str | int, str], {1: "x"}, "dict"),
        (tuple[list[UUID | str], int], ([str(uuid4())], 1), "tuple"),
    ],
)
def test_what_would_be_read_back_as_something_else_is_refused(
    kind: Any, value: Any, named: str
) -> None:
    with pytest.raises(InvalidJob, match=rf"Sending\.it: the worker would not get this {named}"):
        payload.encode(sending(kind)(it=value))


class Opaque:
    """Without an ``__eq__``."""


class Awkward:
    def __eq__(self, other: object) -> bool:
        raise ValueError("ambiguous")

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (float, math.nan),
        (list[Point], [Point(math.nan, 1)]),
        (dict[str, tuple[float, ...]], {"a": (math.nan, 1.0)}),
        (Annotated[Opaque, as_text(Opaque)], Opaque()),
        (Annotated[Awkward, as_text(Awkward)], Awkward()),
        (dict[str, Annotated[Opaque, as_text(Opaque)]], {"a": Opaque()}),
    ],
)
def test_what_equals_nothing_is_taken(kind: Any, value: Any) -> None:
    assert type(round_trip(sending(kind)(it=value)).it) is type(value)


# Where a schema is exact, what is written is not read back. It must accept what it would have.


class Exact(Job):
    text: str
    number: int
    share: float
    flag: bool
    nothing: None
    maybe: str | None
    kind: Literal["a", 1, True] | None
    tags: list[str]
    table: list[list[int] | None]
    small: Annotated[int, pydantic.Field(ge=0, lt=10)]
    short: Annotated[str, pydantic.Field(max_length=3, pattern="^[a-z]*$")]
    few: Annotated[list[float], pydantic.Field(max_length=2)]

    async def handle(self) -> None: ...


class Text(str):
    """Equal to nothing, so that a comparison with what was read back fails."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = str.__hash__


class Whole(int):
    pass


class Shade(enum.StrEnum):
    A = "a"


class Level(enum.IntEnum):
    ONE = 1


SAID = st.text(st.characters(exclude_categories=()), max_size=5)  # lone surrogates too
ATOMS = st.one_of(
    SAID,
    SAID.map(Text),
    st.integers(),
    st.integers(-10, 10).map(Whole),
    st.integers(4_280, 4_310).map(lambda digits: 10**digits),
    st.floats(),
    st.floats(-10, 10),
    st.sampled_from([True, False, None, Shade.A, Level.ONE, "a", 1, b"a", b"\xff", Decimal(1), {}]),
)
VALUES = st.one_of(
    ATOMS,
    st.lists(ATOMS, max_size=3),
    st.lists(st.one_of(ATOMS, st.lists(st.integers(), max_size=3)), max_size=3),
    st.lists(ATOMS, max_size=3).map(tuple),
    st.sets(st.integers(), max_size=2),
)
FITTING: dict[str, Any] = {
    "text": "t", "number": 1, "share": 0.5, "flag": True, "nothing": None, "maybe": None,
    "kind": "a", "tags": [], "table": [], "small": 1, "short": "a", "few": [],
}  # fmt: skip


by_schema, by_reading = Codec(Exact), Codec(Exact)
by_reading._exact = False


def dumped(codec: Codec, values: dict[str, Any]) -> bytes | str:
    try:
        return codec.dump(Exact(**{**FITTING, **values}))
    except InvalidJob as error:
        return str(error)


@settings(max_examples=400)
@given(st.dictionaries(st.sampled_from(sorted(FITTING)), VALUES, min_size=1, max_size=3))
def test_an_exact_schema_accepts_what_would_be_read_back_the_same(values: dict[str, Any]) -> None:
    assert by_schema._exact
    assert dumped(by_schema, values) == dumped(by_reading, values)


@settings(max_examples=100)
@given(st.one_of(st.integers(), st.floats(allow_nan=False), SAID, st.lists(st.floats())))
def test_fitting_values_of_an_exact_schema_come_back(value: Any) -> None:
    field = {int: "number", float: "share", str: "text"}.get(type(value), "few")
    values = {**FITTING, field: value[:2] if isinstance(value, list) else value}
    written = dumped(by_schema, values)
    if isinstance(written, bytes):
        assert repr(vars(by_schema.load(written))) == repr(values)


def test_an_integer_that_cannot_be_read_is_refused() -> None:
    assert "when read back" in dumped(by_schema, {"number": 10**4_305})  # type: ignore[operator]


def shout(text: str) -> str:
    return text.upper()


@pytest.mark.parametrize(
    "annotation",
    [
        dict[str, int],  # a lone surrogate in a key would be another character
        tuple[int, str],
        set[int],
        str | int,
        Any,
        Colour,
        Literal[Colour.RED],
        Decimal,
        bytes,
        Point,
        list[Address],
        Annotated[str, pydantic.AfterValidator(shout)],
        Annotated[str, pydantic.PlainSerializer(shout)],
        Annotated[str, pydantic.Field(alias="other")],
        Annotated[str, pydantic.StringConstraints(strip_whitespace=True)],
        Annotated[str, pydantic.Field(strict=True)],
        list[Annotated[int, pydantic.AfterValidator(abs)]],
    ],
)
def test_any_other_schema_is_read_back(annotation: Any) -> None:
    class Other(Job):
        __annotations__ = {"value": annotation}

        async def handle(self) -> None: ...

    assert not payload.prepare(Other)._exact


def test_a_job_with_a_validate_or_without_annotations_is_read_back() -> None:
    class Checked(Job):
        text: str

        def validate(self) -> None: ...

        async def handle(self) -> None: ...

    assert not payload.prepare(Checked)._exact
    assert not payload.prepare(Bare)._exact
