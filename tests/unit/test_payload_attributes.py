"""Payloads: attributes that are the payload, and what is no payload or not plain."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from queued.errors import (
    CorruptPayload,
    InvalidJob,
)
from queued.jobs import payload
from queued.jobs.job import Job
from tests.unit.payloads import (
    Bare,
    Legacy,
    Odd,
    everything,
    kept_registry,
    round_trip,
)

_registry = pytest.fixture(autouse=True)(kept_registry)


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
