"""Payloads: what dispatch accepts, what a worker gets back, and what neither takes."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal
from uuid import UUID, uuid4

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import core_schema

from queued.errors import (
    CorruptPayload,
    InvalidJob,
    JobDefinitionError,
    PayloadTooLarge,
    UnknownJob,
)
from queued.jobs import header, payload, registry
from queued.jobs.codec import Codec
from queued.jobs.job import Job

if TYPE_CHECKING:
    from fractions import Fraction


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


class SendEmail(Job):
    to: str
    subject: str = "Hello"

    async def handle(self) -> None: ...


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


class Legacy(Job):
    def __init__(self) -> None:
        super().__init__()
        self.user_id: Any = None
        self._cache: dict[str, int] = {}

    async def handle(self) -> None: ...


class Bare(Job):
    async def handle(self) -> None: ...


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    """Forget the classes that tests make: some of them are broken on purpose."""
    classes = dict(registry._classes)
    yield
    registry._classes.clear()
    registry._classes.update(classes)


def round_trip(job: Job) -> Any:
    return payload.decode(payload.encode(job))


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


def test_the_envelope_is_a_header_line_and_a_body() -> None:
    header, body = payload.encode(SendEmail(to="a@b.c")).split(b"\n")

    assert json.loads(header) == {"v": 1, "job": f"{__name__}.SendEmail"}
    assert json.loads(body) == {"to": "a@b.c", "subject": "Hello"}


def test_every_type_comes_back_as_it_was() -> None:
    job = everything()
    again = round_trip(job)

    assert type(again) is Everything
    assert vars(again) == vars(job)
    assert type(again.point) is Point
    assert type(again.address.inner) is Address


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_floats_that_json_lacks_come_back(value: float) -> None:
    assert round_trip(everything(share=value, anything=value)).anything == value
    assert math.isnan(round_trip(everything(share=math.nan)).share)


@given(
    text=st.text(st.characters(exclude_categories=["Cs"])),
    number=st.integers(),
    share=st.floats(allow_nan=False),
    raw=st.binary(),
    when=st.datetimes(timezones=st.just(UTC)),
    span=st.timedeltas(),
    price=st.decimals(allow_nan=False, allow_infinity=False),
    uid=st.uuids(),
    tags=st.lists(st.text(st.characters(exclude_categories=["Cs"]))),
    unique=st.sets(st.integers()),
)
def test_any_values_of_the_fields_types_come_back(**values: Any) -> None:
    job = everything(**values)

    assert vars(round_trip(job)) == vars(job)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["a", "b1", "user_id", "zażółć", "x y"]), json_values))
def test_any_json_comes_back_as_attributes(values: dict[str, Any]) -> None:
    job = Legacy()
    vars(job).update(values)

    assert vars(round_trip(job)) == vars(Legacy()) | values


@given(st.binary())
def test_arbitrary_bytes_are_refused_in_two_ways_only(data: bytes) -> None:
    with pytest.raises((CorruptPayload, UnknownJob)):
        payload.decode(data)
    assert payload.job_name(data) is None or isinstance(payload.job_name(data), str)
    assert "\n" not in payload.body_text(data)


@given(st.sampled_from([SendEmail, Everything, Legacy]), st.binary() | json_values)
def test_arbitrary_bodies_are_refused_in_one_way_only(cls: type[Job], body: Any) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    header = json.dumps({"v": 1, "job": cls.__queued__.name}).encode()
    try:
        job = payload.decode(header + b"\n" + raw)
    except CorruptPayload:
        return
    assert type(job) is cls


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"to": 3}, r"^SendEmail\.to: Input should be a valid string \(got int\)$"),
        (
            {"to": None, "subject": b"\xff"},
            r"SendEmail\.to: .* \(got NoneType\); SendEmail\.subject",
        ),
        ({"to": "\ud800"}, r"SendEmail\.to: "),
    ],
)
def test_wrong_values_are_named_by_field(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidJob, match=message):
        payload.encode(SendEmail(**values))


def test_an_error_shows_no_value() -> None:
    with pytest.raises(InvalidJob) as caught:
        payload.encode(SendEmail(to=["hunter2"]))  # type: ignore[arg-type]

    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_error_names_the_place_inside_a_field() -> None:
    with pytest.raises(InvalidJob, match=r"Everything\.by_number\[1\]\.x: "):
        payload.encode(everything(by_number={1: {"x": "?", "y": 0}}))


def test_many_errors_are_cut() -> None:
    with pytest.raises(InvalidJob, match=r"and 12 more$"):
        payload.encode(everything(tags=list(range(22))))


def test_values_are_converted_as_pydantic_does_and_the_job_keeps_its_own() -> None:
    job = everything(number="7", day="2024-01-02")
    again = round_trip(job)

    assert (again.number, again.day) == (7, date(2024, 1, 2))
    assert job.number == "7"  # type: ignore[comparison-overlap]


def test_constraints_of_pydantic_hold() -> None:
    class Page(Job):
        number: int = pydantic.Field(default=1, ge=1)
        title: Annotated[str, pydantic.Field(max_length=3)] = ""

        async def handle(self) -> None: ...

    class Cover(Page):
        number = 2
        anything: int = pydantic.Field(3)

    with pytest.raises(InvalidJob, match=r"Page\.number: .*Page\.title: "):
        payload.encode(Page(number=0, title="long"))
    with pytest.raises(InvalidJob, match=r"Cover\.number: "):
        payload.encode(Cover(number=0))
    assert vars(round_trip(Page())) == {"number": 1, "title": ""}
    assert vars(round_trip(Cover())) == {"number": 2, "title": "", "anything": 3}


def test_an_attribute_that_is_no_field_is_refused() -> None:
    job = SendEmail(to="a")
    job.subjct = "typo"  # type: ignore[attr-defined]

    with pytest.raises(
        InvalidJob, match=r'SendEmail\.subjct: no such field; did you mean "subject"'
    ):
        payload.encode(job)


def test_a_field_that_was_deleted_is_missing() -> None:
    job = SendEmail(to="a")
    del job.to

    with pytest.raises(InvalidJob, match=r"SendEmail\.to: Field required"):
        payload.encode(job)


def test_what_queued_sets_and_private_attributes_are_no_payload() -> None:
    job = SendEmail(to="a")
    job.job_id, job.attempts = "some-id", 3
    job.queue = "elsewhere"  # type: ignore[misc]
    job._client = object()  # type: ignore[attr-defined]

    again = round_trip(job)

    assert vars(again) == {"to": "a", "subject": "Hello"}
    assert (again.job_id, again.attempts) == (None, 0)


def test_private_defaults_are_fresh_in_each_decoded_job() -> None:
    class Counting(Job):
        start: int
        _seen: list[int] = []  # noqa: RUF012
        _limit: int = 3

        async def handle(self) -> None: ...

    data = payload.encode(Counting(start=1))
    first, second = payload.decode(data), payload.decode(data)
    first._seen.append(1)  # type: ignore[attr-defined]

    assert second._seen == []  # type: ignore[attr-defined]
    assert second._limit == 3  # type: ignore[attr-defined]


def test_a_cached_property_is_no_payload() -> None:
    class Typed(Job):
        to: str

        @cached_property
        def address(self) -> object:
            return object()

        async def handle(self) -> None: ...

    class Attributes(Job):
        domain = cached_property(lambda _: object())

        async def handle(self) -> None: ...

    typed, attributes = Typed(to="a"), Attributes()
    assert typed.address
    assert attributes.domain

    assert vars(round_trip(typed)) == {"to": "a"}
    assert vars(round_trip(attributes)) == {}


def test_private_defaults_are_fresh_without_our_init_too() -> None:
    class Careless(Job):
        _seen: list[int] = []  # noqa: RUF012

        def __init__(self) -> None:
            self.to = "a"

        async def handle(self) -> None: ...

    again = round_trip(Careless())
    again._seen.append(1)

    assert Careless._seen == []
    assert vars(again) == {"to": "a", "_seen": [1]}


def test_each_decode_makes_a_fresh_instance() -> None:
    data = payload.encode(everything())
    first, second = payload.decode(data), payload.decode(data)

    assert first is not second
    assert vars(first)["tags"] is not vars(second)["tags"]


def test_a_default_that_was_added_since_fills_in() -> None:
    old = payload.encode(SendEmail(to="a"))
    without = old.replace(b',"subject":"Hello"', b"")

    assert payload.decode(without).subject == "Hello"  # type: ignore[attr-defined]


def test_an_unknown_field_in_a_body_is_corrupt() -> None:
    data = payload.encode(SendEmail(to="a")).replace(b"subject", b"subjects")

    with pytest.raises(CorruptPayload, match=r"SendEmail\.subjects: no such field"):
        payload.decode(data)


def test_routemq_style_attributes_are_the_payload() -> None:
    job = Legacy()
    job.user_id = 7
    job.extra = {"list": [1, 2.5, None, "x"]}  # type: ignore[attr-defined]
    job._cache["x"] = 1

    again = round_trip(job)

    assert (again.user_id, again.extra, again._cache) == (7, {"list": [1, 2.5, None, "x"]}, {})


def test_a_class_without_anything_takes_attributes() -> None:
    job = Bare()
    job.new_score, job.user_id = 3, 4  # type: ignore[attr-defined]

    assert vars(round_trip(job)) == {"new_score": 3, "user_id": 4}


class Odd:
    pass


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (datetime(2024, 1, 1, tzinfo=UTC), r"Legacy\.user_id: a value of type datetime"),
        (b"x", "a value of type bytes"),
        ({1, 2}, "a value of type set"),
        (Odd(), "a value of type Odd"),
        ([{"x": Decimal(1)}], "a value of type Decimal"),
        ({1: "x"}, "a dict with a key of type int"),
        ({None: "x"}, "a dict with a key of type NoneType"),
        ("\ud800", r"Legacy\.user_id: cannot be written as JSON"),
    ],
)
def test_what_json_cannot_hold_is_named_by_attribute(value: Any, message: str) -> None:
    job = Legacy()
    job.user_id = value

    with pytest.raises(InvalidJob, match=message):
        payload.encode(job)


def test_endless_and_deep_data_are_refused() -> None:
    job = Legacy()
    job.user_id = endless = []
    endless.append(endless)
    with pytest.raises(InvalidJob, match=r"Legacy\.user_id: data nested more than 100 deep"):
        payload.encode(job)

    typed = everything(anything=endless)
    with pytest.raises(InvalidJob):
        payload.encode(typed)


@pytest.mark.parametrize("value", [{"when": date(2024, 1, 1)}, {3: 4}, {"x": [b"raw"]}])
def test_untyped_places_of_a_typed_job_take_json_only(value: Any) -> None:
    class Loose(Job):
        data: dict[str, Any] | None = None
        more: dict = {}  # type: ignore[type-arg]  # noqa: RUF012

        async def handle(self) -> None: ...

    assert round_trip(Loose(data={"x": [1]}, more={"y": None})).more == {"y": None}
    with pytest.raises(InvalidJob, match=r"Loose\.more: a (value|dict) "):
        payload.encode(Loose(more=value))
    with pytest.raises(InvalidJob, match=r"Loose\.data"):
        payload.encode(Loose(data=value))


def test_an_annotated_attribute_of_a_routemq_style_job_keeps_its_type() -> None:
    class Mixed(Job):
        when: datetime | None

        def __init__(self) -> None:
            super().__init__()
            self.when = None
            self.count = 0

        async def handle(self) -> None: ...

    job = Mixed()
    job.when = datetime(2024, 1, 1, tzinfo=UTC)

    assert round_trip(job).when == job.when
    job.when = "never"  # type: ignore[assignment]
    with pytest.raises(InvalidJob, match=r"Mixed\.when: "):
        payload.encode(job)


@pytest.mark.parametrize("name", ["name", "timeout", "max_tries", "handle", "failed"])
def test_a_reserved_attribute_of_an_instance_is_refused(name: str) -> None:
    job = Legacy()
    setattr(job, name, "x")

    with pytest.raises(InvalidJob, match=rf"Legacy\.{name} "):
        payload.encode(job)


@pytest.mark.parametrize("name", ["job_id", "handle", "queue", "_cache", "__class__", "failed"])
def test_a_stored_body_cannot_set_what_is_no_payload(name: str) -> None:
    header = payload.encode(Legacy()).partition(b"\n")[0]

    with pytest.raises(CorruptPayload, match="not an attribute that is stored"):
        payload.decode(header + b"\n" + json.dumps({name: 1}).encode())


def test_validate_sees_the_converted_values_and_refuses() -> None:
    class Transfer(Job):
        amount: int
        to: str
        _limit: int = 100

        def validate(self) -> None:
            if self.amount > self._limit:
                raise ValueError("amount is\nover the limit")
            self.to = self.to.strip()

        async def handle(self) -> None: ...

    job = Transfer(amount="99", to=" ann ")  # type: ignore[arg-type]

    assert vars(round_trip(job)) == {"amount": 99, "to": "ann"}
    assert job.to == " ann "
    with pytest.raises(InvalidJob, match=r"^Transfer: amount is\\nover the limit$"):
        payload.encode(Transfer(amount=101, to="x"))


def test_validate_works_for_routemq_style_jobs() -> None:
    class Checked(Job):
        def __init__(self) -> None:
            super().__init__()
            self.to = ""

        def validate(self) -> None:
            if "@" not in self.to:
                raise ValueError("Invalid email address")

        async def handle(self) -> None: ...

    with pytest.raises(InvalidJob, match="Checked: Invalid email address"):
        payload.encode(Checked())


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


def test_a_payload_over_the_limit_is_refused() -> None:
    assert len(payload.encode(SendEmail(to="x" * 1_000_000))) > 1_000_000
    with pytest.raises(PayloadTooLarge, match=r"SendEmail has 1 MiB of payload .* dispatch its id"):
        payload.encode(SendEmail(to="x" * 2**20))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "its first line is no header"),
        (b"\n{}", "its first line is no header"),
        (b'{"v":2,"job":"x"}\n{}', "version 2, and this queued reads 1"),
        (b'{"v":1}\n{}', "is no header"),
        (b"[" * 900 + b"\n{}", "is no header"),
        (b'{"v":1,"job":"' + b"x" * 2_000 + b'"}\n{}', "is no header"),
    ],
)
def test_a_broken_header_is_corrupt(data: bytes, message: str) -> None:
    with pytest.raises(CorruptPayload, match=message):
        payload.decode(data)


def test_a_payload_without_a_body_is_corrupt() -> None:
    header = payload.encode(SendEmail(to="a")).partition(b"\n")[0]

    with pytest.raises(CorruptPayload, match="has no body"):
        payload.decode(header)


def test_a_name_that_is_not_registered_is_unknown_and_never_imported() -> None:
    module = "this_module_must_never_be_imported"
    data = json.dumps({"v": 1, "job": f"{module}.X\n"}).encode() + b"\n{}"

    with pytest.raises(UnknownJob, match=rf'no job is registered as "{module}.X\\n"'):
        payload.decode(data)
    assert module not in sys.modules


def test_unknown_names_suggest_a_near_one_and_do_not_fill_memory() -> None:
    known = len(header._headers)
    for number in range(50):
        data = json.dumps({"v": 1, "job": f"{__name__}.SendEmial{number}"}).encode() + b"\n{}"
        with pytest.raises(UnknownJob, match=r"did you mean \".*SendEmail\""):
            payload.decode(data)

    assert len(header._headers) == known


def test_the_search_for_a_near_name_is_made_once_for_each_state_of_the_registry() -> None:
    def message() -> str:
        with pytest.raises(UnknownJob) as caught:
            registry.lookup("shop.SendParsel")
        return str(caught.value)

    assert "is its module in imports?" in message()
    searched = registry._hint.cache_info().misses
    assert message() == message()
    assert registry._hint.cache_info().misses == searched

    class SendParcel(Job):
        name = "shop.SendParcel"

    assert 'did you mean "shop.SendParcel"?' in message()


def test_the_name_is_read_from_the_header_alone() -> None:
    assert payload.job_name(payload.encode(SendEmail(to="a"))) == f"{__name__}.SendEmail"
    assert payload.job_name(b'{"v":1,"job":"gone.Class"}\nno json') == "gone.Class"
    assert payload.job_name(b"garbage") is None


def test_a_name_from_outside_is_safe_to_print_and_to_encode() -> None:
    assert payload.job_name(b'{"v":1,"job":"a\\ud800\\n\\u001b[31m"}\n{}') == "a\\ud800\\n\\x1b[31m"


def test_body_text_hides_secrets_and_escapes() -> None:
    data = b'{"v":1,"job":"x"}\n{"user":"ann\\u001b[31m","password":"p","list":[{"api_key":1}]}'

    assert payload.body_text(data) == (
        '{"user": "ann\\u001b[31m", "password": "***", "list": [{"api_key": "***"}]}'
    )
    assert '"p"' in payload.body_text(data, reveal=True)
    assert payload.body_text(b"\xff\x00\x1b") == "\\xff\\x00\\x1b"


@pytest.mark.parametrize("broken", [b"", b',"n":' + b"1" * 5_000 + b"}", b',"n":' + b"[" * 100_000])
def test_body_text_hides_what_it_cannot_read_and_may_hold_a_secret(broken: bytes) -> None:
    data = b'{"v":1,"job":"x"}\n{"password":"hunter2"' + broken

    assert "hunter2" not in payload.body_text(data)
    assert "hunter2" in payload.body_text(data, reveal=True)


def test_build_makes_a_job_of_what_people_type() -> None:
    job = payload.build(f"{__name__}.SendEmail", b'{"to": "a@b.c"}')

    assert vars(job) == {"to": "a@b.c", "subject": "Hello"}
    with pytest.raises(InvalidJob, match=r"SendEmail\.to: Field required"):
        payload.build(f"{__name__}.SendEmail", b"{}")
    with pytest.raises(InvalidJob, match="Invalid JSON"):
        payload.build(f"{__name__}.SendEmail", b"{")
    with pytest.raises(UnknownJob):
        payload.build("nobody.knows", b"{}")


def test_an_instance_is_expected() -> None:
    with pytest.raises(InvalidJob, match="expected an instance of a Job class, got the class"):
        payload.encode(SendEmail)  # type: ignore[arg-type]
    with pytest.raises(InvalidJob, match="got a str"):
        payload.encode("SendEmail")  # type: ignore[arg-type]


def test_a_job_without_handle_is_not_dispatched() -> None:
    class Base(Job):
        to: str

    with pytest.raises(JobDefinitionError, match=r"Base has no handle\(\)"):
        payload.encode(Base(to="x"))


def test_annotations_must_exist_at_run_time() -> None:
    class Broken(Job):
        share: Fraction

        async def handle(self) -> None: ...

    with pytest.raises(
        JobDefinitionError, match=r'"Fraction", which does not exist .*TYPE_CHECKING'
    ):
        payload.encode(Broken(share=1))  # type: ignore[arg-type]
    stored = json.dumps({"v": 1, "job": Broken.__queued__.name}).encode() + b"\n{}"
    with pytest.raises(UnknownJob, match="cannot be used"):
        payload.decode(stored)


@pytest.mark.parametrize("kind", [Odd, type(len), "len(", "payload.nosuch"])
def test_a_type_that_cannot_be_used_is_refused(kind: Any) -> None:
    broken = type("Broken", (Job,), {"__annotations__": {"thing": kind}, "__module__": __name__})

    with pytest.raises(JobDefinitionError, match="Broken: a"):
        payload.prepare(broken)


def test_class_variables_are_no_payload() -> None:
    class WithClassVar(Job):
        shared: ClassVar[list[int]] = []
        own: int = 1

        async def handle(self) -> None: ...

    assert vars(round_trip(WithClassVar())) == {"own": 1}


def test_what_a_routemq_style_init_raises_is_passed_on() -> None:
    class Fragile(Job):
        broken: ClassVar[bool] = False

        def __init__(self) -> None:
            super().__init__()
            if self.broken:
                raise OSError("no disk")

        async def handle(self) -> None: ...

    data = payload.encode(Fragile())
    Fragile.broken = True

    with pytest.raises(OSError, match="no disk"):
        payload.decode(data)


def test_a_reloaded_class_is_used_from_then_on() -> None:
    def make(default: int) -> type[Job]:
        class Reloaded(Job):
            name = "reloaded"
            number: int = default

            async def handle(self) -> None: ...

        return Reloaded

    data = payload.encode(make(1)())
    newer = make(2)

    assert type(payload.decode(data)) is newer


def test_a_class_of_the_script_that_runs_is_refused(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from queued.jobs import payload\n"
        "from queued import Job\n"
        "class Here(Job):\n"
        "    async def handle(self): ...\n"
        "class Named(Job):\n"
        "    name = 'app.Named'\n"
        "    async def handle(self): ...\n"
        "print(payload.encode(Named()))\n"
        "payload.encode(Here())\n"
    )
    ended = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False, timeout=60
    )

    assert "app.Named" in ended.stdout
    assert "Here is defined in the script being run, where no worker finds it" in ended.stderr


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
