"""Payloads: what dispatch accepts, what a worker gets back, and what neither takes."""

from __future__ import annotations

import json
import math
from datetime import UTC, date
from functools import cached_property
from typing import Annotated, Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queued.errors import (
    CorruptPayload,
    InvalidJob,
    PayloadTooLarge,
    UnknownJob,
)
from queued.jobs import payload
from queued.jobs.job import Job
from tests.unit.payloads import (
    Address,
    Everything,
    Legacy,
    Point,
    SendEmail,
    everything,
    kept_registry,
    round_trip,
)

_registry = pytest.fixture(autouse=True)(kept_registry)


def test_the_envelope_is_a_header_line_and_a_body() -> None:
    header, body = payload.encode(SendEmail(to="a@b.c")).split(b"\n")

    assert json.loads(header) == {"v": 1, "job": f"{SendEmail.__module__}.SendEmail"}
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


def test_a_payload_over_the_limit_is_refused() -> None:
    assert len(payload.encode(SendEmail(to="x" * 1_000_000))) > 1_000_000
    with pytest.raises(PayloadTooLarge, match=r"SendEmail has 1 MiB of payload .* dispatch its id"):
        payload.encode(SendEmail(to="x" * 2**20))
