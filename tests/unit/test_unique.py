"""Unique jobs from the producer's side: of what the key is made, and what the receipt says."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest

from queued.drivers import driver_for
from queued.drivers.base import Driver, JobInfo
from queued.errors import InvalidJob, JobDefinitionError
from queued.jobs.job import Job
from queued.jobs.queue import Queue
from queued.jobs.receipt import Receipt
from queued.jobs.unique import MAX_KEY, key_of, unique_of

numbers = itertools.count()
WHO = UUID("0123abcd-0000-4000-8000-000000000000")


class Sync(Job):
    unique_key = "{user}:{day:%Y-%m}"
    user: UUID
    day: date

    def handle(self) -> None: ...


class Rebuild(Job):
    unique_key = True
    unique_for = "1h"
    index: str
    options: dict[str, int] = {}  # noqa: RUF012 - made anew for each job

    def handle(self) -> None: ...


class Charge(Job):
    order: int = 0
    retried: bool = False

    def unique_key(self) -> Any:
        return None if self.retried else f"order {self.order}"

    def handle(self) -> None: ...


class Legacy(Job):
    unique_key = "{user_id}"

    def __init__(self) -> None:
        super().__init__()
        self.user_id: Any = None

    def handle(self) -> None: ...


class Plain(Job):
    to: str = ""

    def handle(self) -> None: ...


@pytest.fixture
async def queue() -> AsyncIterator[Queue]:
    async with Queue(f"memory://unique-{next(numbers)}") as producer:
        yield producer


@pytest.fixture
async def driver(queue: Queue) -> Driver:
    opened = driver_for(str(queue._url))
    await opened.open()
    return opened


async def test_a_duplicate_is_refused_and_the_receipt_names_the_holder(queue: Queue) -> None:
    first = await queue.push(Sync(user=WHO, day=date(2026, 1, 1)), id="first")
    again = await queue.push(Sync(user=WHO, day=date(2026, 1, 31)))
    other = await queue.push(Sync(user=WHO, day=date(2026, 2, 1)))
    assert first == Receipt("first", enqueued=True)
    assert again == Receipt("first", enqueued=False)
    assert other.enqueued
    assert await queue.size() == 2
    assert (await queue.stats()).refused_total == 1


async def test_bulk(queue: Queue) -> None:
    jobs = [Sync(user=WHO, day=date(2026, 1 + n % 3, 1)) for n in range(6)]
    receipts = await queue.bulk([*jobs, Plain(), Plain()])
    first = receipts[:3]
    assert all(one.enqueued for one in first)
    assert receipts[3:6] == [Receipt(one.id, enqueued=False) for one in first]
    assert all(one.enqueued for one in receipts[6:])
    assert await queue.size() == 5


async def test_a_bulk_of_more_than_a_batch(queue: Queue) -> None:
    receipts = await queue.bulk([Rebuild(index=f"i{n % 1500}") for n in range(2500)])
    assert [one.enqueued for one in receipts] == [True] * 1500 + [False] * 1000
    assert [one.id for one in receipts[1500:]] == [one.id for one in receipts[:1000]]


def test_the_verbs_without_an_event_loop() -> None:
    sync = Queue(f"memory://unique-{next(numbers)}").sync
    first = sync.push(Legacy(), unique_key="7")
    assert sync.later(60, Legacy(), unique_key="7") == Receipt(first.id, enqueued=False)
    job = Charge(order=1)
    assert [one.enqueued for one in sync.bulk([job, job])] == [True, False]
    sync.close()


async def test_a_key_given_at_dispatch(queue: Queue, driver: Driver) -> None:
    first = await queue.push(Plain(), unique_key="nightly {not a field}")
    assert first.enqueued
    assert (await queue.push(Plain(to="x"), unique_key="nightly {not a field}")).id == first.id
    assert (await queue.later(5, Plain(), unique_key="other", unique_for="1h")).enqueued
    info = await found(driver, first.id)
    assert info.unique == f"{__name__}.Plain nightly {{not a field}}"
    assert key_of(info.unique) == "nightly {not a field}"


async def found(driver: Driver, job_id: str) -> JobInfo:
    info = await driver.find(job_id)
    assert info is not None
    return info


async def test_a_span_given_at_dispatch(queue: Queue) -> None:
    job = Sync(user=WHO, day=date(2026, 1, 1))
    for span in (3600, "1h", timedelta(hours=1), 0.5):
        unique = unique_of(job, None, span)
        assert unique is not None
        assert unique.seconds == (0.5 if span == 0.5 else 3600)
    with pytest.raises(InvalidJob, match=r"unique_for: expected more than 0 seconds, got 0"):
        await queue.push(job, unique_for=0)
    with pytest.raises(InvalidJob, match=r"unique_for: expected a duration"):
        await queue.push(job, unique_for="soon")
    with pytest.raises(InvalidJob, match=r"unique_for needs a key: Plain\.unique_key is not set"):
        await queue.push(Plain(), unique_for=60)


def test_the_key_is_made_of_the_job_as_the_worker_will_see_it() -> None:
    one: Any = Sync(user=str(WHO).upper(), day="2026-01-05")  # type: ignore[arg-type]
    assert unique_of(one) == unique_of(Sync(user=WHO, day=date(2026, 1, 9)))
    job = Legacy()
    job.user_id = 7
    assert unique_of(job) == (f"{__name__}.Legacy 7", None)


def test_all_fields_as_the_key() -> None:
    one, same = Rebuild(index="a", options={"x": 1, "y": 2}), Rebuild(index="a")
    same.options = {"y": 2, "x": 1}
    assert unique_of(one) == unique_of(same)
    assert unique_of(one) != unique_of(Rebuild(index="b", options={"x": 1, "y": 2}))
    unique = unique_of(one)
    assert unique is not None
    assert unique.seconds == 3600
    assert len(key_of(unique.name)) == 32


def test_a_method_may_say_that_this_job_is_not_unique() -> None:
    assert unique_of(Charge(order=3)) == (f"{__name__}.Charge order 3", None)
    assert unique_of(Charge(order=3, retried=True)) is None


async def test_jobs_that_hold_nothing_are_not_refused(queue: Queue) -> None:
    job = Charge(order=3, retried=True)
    assert (await queue.push(job)).enqueued
    assert (await queue.push(job)).enqueued


def test_a_key_of_what_looks_secret_is_a_digest() -> None:
    class Login(Job):
        unique_key = "{api_token}"
        api_token: str

        def handle(self) -> None: ...

    unique = unique_of(Login(api_token="hunter2"))
    assert unique is not None
    assert "hunter2" not in unique.name
    assert unique != unique_of(Login(api_token="hunter3"))


def test_a_key_of_an_encrypted_class_is_a_digest() -> None:
    class Letter(Job):
        encrypt = True
        unique_key = "{to}"
        to: str

        def handle(self) -> None: ...

    for unique in (unique_of(Letter(to="ann")), unique_of(Letter(to="x"), "ann")):
        assert unique is not None
        assert "ann" not in key_of(unique.name)
    assert unique_of(Letter(to="ann")) == unique_of(Letter(to="x"), "ann")


@pytest.mark.parametrize("key", ["", "x" * (MAX_KEY + 1), "a\nb", "\ud800", 1.5, True, b"x"])
async def test_a_key_that_cannot_be_one_enqueues_nothing(queue: Queue, key: Any) -> None:
    with pytest.raises(InvalidJob, match=r"Plain\.unique_key: expected 1 to 200 printable"):
        await queue.push(Plain(), unique_key=key)
    assert await queue.size() == 0


async def test_a_format_that_fails_names_the_class(queue: Queue) -> None:
    class Typo(Legacy):
        unique_key = "{usr_id}"

    with pytest.raises(InvalidJob, match=r"Typo\.unique_key '\{usr_id\}': AttributeError"):
        await queue.push(Typo())


def test_another_class_has_keys_of_its_own() -> None:
    assert unique_of(Plain(), "1") != unique_of(Charge(order=1), "1")


async def test_an_invalid_job_holds_nothing(queue: Queue) -> None:
    bad: Any = Sync(user="nobody", day=date(2026, 1, 1))  # type: ignore[arg-type]
    with pytest.raises(InvalidJob, match=r"Sync\.user: .*valid UUID"):
        await queue.push(bad)
    with pytest.raises(InvalidJob, match=r"jobs\[1\]: Sync\.user"):
        await queue.bulk([Sync(user=WHO, day=date(2026, 1, 1)), bad])
    assert (await queue.push(Sync(user=WHO, day=date(2026, 1, 1)))).enqueued


@dataclass
class Wrong:
    settings: dict[str, Any]
    message: str


@pytest.mark.parametrize(
    "wrong",
    [
        Wrong({"unique_key": "{usr}"}, 'names no field "usr"; did you mean "user"'),
        Wrong({"unique_key": "{}"}, 'names no field ""'),
        Wrong({"unique_key": "{user"}, 'expected a text such as "{user_id}"'),
        Wrong({"unique_key": ""}, "expected a text with fields"),
        Wrong({"unique_key": 7}, "expected a text with fields"),
        Wrong({"unique_key": False}, "expected a text with fields"),
        Wrong({"unique_key": lambda: ""}, "has to take"),
        Wrong({"unique_for": "1h"}, "goes with one"),
        Wrong({"unique_key": "{user}", "unique_for": 0}, "expected more than no time"),
        Wrong({"unique_key": "{user}", "unique_for": "x"}, "expected a duration"),
    ],
)
def test_what_a_class_cannot_mean(wrong: Wrong) -> None:
    namespace = {"__annotations__": {"user": "int"}, "__module__": __name__, **wrong.settings}
    with pytest.raises(JobDefinitionError, match=r"Bad\.unique_") as caught:
        type("Bad", (Job,), namespace)
    assert wrong.message in str(caught.value)


def test_a_key_is_no_field() -> None:
    with pytest.raises(JobDefinitionError, match=r"unique_key is a setting and no field"):

        class Bad(Job):
            unique_key: str  # type: ignore[misc]
